"""Sounds through every command, as a user would attack a model of speech: a small Whisper, a folder of wavs."""

from __future__ import annotations

import base64
import io
import json
import re
import sys

import numpy as np
import pandas as pd
import pytest

import attacks
from audit import AttackConfig, SearchConfig, attack, report, search
from audit.compare import CompareConfig, compare
from audit.sweep import SweepConfig, sweep
from privacy_metrics.registry import metrics_of
from reports.run import Run
from reports.verdict import verdicts
from tests.audit.test_shapes import hurried  # noqa: F401, every loop takes a few steps
from tests.sounds import RATE, folder, whisper

# What an attack needs that makes up for knowledge the server has, `black-box` grants.
THREATS = {"server": ("all",), "black-box": ("shadow", "identify"), "server-no-map": ("alternating",)}
NAMES = {"label_by": r"(\d)_s", "group_by": r"_(s\d)_"}
WORDS = ("--label-by", NAMES["label_by"], "--group-by", NAMES["group_by"])


@pytest.fixture(scope="module")
def speech(tmp_path_factory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("speech")
    whisper(root / "model")
    return {"victim": str(root / "model"), "data": str(folder(root / "recordings", 96))}


@pytest.fixture(scope="module")
def runs(speech, tmp_path_factory) -> dict[str, Run]:
    root = tmp_path_factory.mktemp("runs")
    return {
        threat: attack(
            AttackConfig(
                policies=("uniform-0.6",), attacks=names, head="probe", codec="uncoded", images=8,
                auxiliary=40, quick=True, threat=threat, budget=None, **speech, **NAMES,
            ),
            root / threat,
        )
        for threat, names in THREATS.items()
    }  # fmt: skip


def test_every_attack_is_run_and_scored_by_the_metrics_of_sounds(runs):
    done, metrics = set(), metrics_of("log-mel")
    for run in runs.values():
        assert run.finished and sorted(run.about["metrics"]) == sorted(metrics)
        assert run.measure == "spectrogram_ssim" and bool(np.isfinite(run.scores.value).all())
        for policy in run.policies:
            for name in run.attacks:
                assert all(len(run.values(policy, name, metric)) == 8 for metric in metrics)
        done |= set(run.scores.attack)
    serving = {n for n, method in {**attacks.available(), **attacks.inferences()}.items() if method.serves("log-mel")}
    assert done == serving >= {"ridge", "context", "decoder", "optimization", "identify", "traffic"}


def test_speakers_are_on_one_side_and_the_task_is_the_word(runs):
    about = runs["server"].about
    assert about["task"] == "accuracy" and about["victim"]["patches"] == 24 and about["source_values"] == 16 * 48
    assert verdicts(runs["server"])[0].level


def test_the_report_shows_spectrograms_and_plays_them(runs):
    soundfile = pytest.importorskip("soundfile", reason="needs the extra audio (soundfile), which is missing")
    run = runs["server"]
    (run.folder / "report.html").unlink()
    page = report(run.folder).read_text()
    assert "media-src data:" in page and 'src="http' not in page and ">nan<" not in page.lower()
    waves = re.findall(r'<audio controls preload="none" src="data:audio/wav;base64,([^"]+)" aria-label="([^"]+)"', page)
    assert len(waves) > 8 and any("original" in label for _, label in waves)
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(waves[0][0])))
    assert rate == RATE and len(samples) == 48 * 160 and 0.5 < np.abs(samples).max() < 0.8
    assert page.count("data:image/png;base64,") == len(waves)


def test_without_the_libraries_a_report_shows_and_plays_nothing(runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    page = report(runs["server"].folder).read_text()
    assert "<audio" not in page and page.count("data:image/png;base64,") > 8


@pytest.mark.slow
def test_compare_sweep_and_search(speech, tmp_path):
    shared = {**speech, **NAMES, "head": "probe", "images": 8, "auxiliary": 40}
    compared = compare(
        CompareConfig(policies=("uniform-0.5",), defenses=("drop:0.5",), codec="uncoded", attacks=("ridge",), **shared),
        tmp_path / "compare",
    )
    table = compared.table()
    assert {"none", "uniform-0.5"} <= set(table["name"]) and table.leakage.notna().all()
    page = sweep(SweepConfig(snr=(0.0, 20.0), policies=("uniform-0.5",), codecs=("uncoded",), **shared), tmp_path / "w")
    points = pd.read_csv(page.parent / "points.csv")
    assert set(points.snr) == {0.0, 20.0} and points.estimate.notna().all()
    search(SearchConfig(evals=3, codec="uncoded", lowest=0.0, **shared), tmp_path / "search")
    trials = [json.loads(line) for line in (tmp_path / "search/trials.jsonl").read_text().splitlines()]
    assert len(trials) == 3 and all(np.isfinite(trial["values"]["leakage"]) for trial in trials)


def test_policies_heads_and_codecs_are_made_for_it(atm, speech, tmp_path):
    words = ("--victim", speech["victim"], "--data", speech["data"])
    policy, head, codec = (tmp_path / name for name in ("p.yaml", "head.safetensors", "codec.safetensors"))
    for made in (
        ("calibrate", "0.2", *words, "--label-by", NAMES["label_by"], "--images", 8, "--out", policy),
        ("train", "head", *words, "--label-by", NAMES["label_by"], "--out", head),
        ("train", "codec", *words, "--label-by", NAMES["label_by"], "--steps", 2, "--symbols", 5, "--out", codec),
    ):
        code, _, err = atm(*made)
        assert code == 0, err
    few = ("--images", 4, "--auxiliary", 40, "--attack", "ridge", "--quick", "--out", tmp_path / "run")
    code, out, err = atm("attack", *words, *WORDS, "--policy", policy, "--head", head, "--codec", codec, *few)
    assert code == 0, err
    assert "spectrogram SSIM" in re.sub(r"[\s│┃]+", " ", out)


REFUSED = {
    "pictures": ("--data", "photos", "the victim hears sounds, and data 'photos' is no folder or tar of them"),
    "digital": ("--codec", "digital:10", "codec 'digital' is fitted to photographs, and this victim takes sounds"),
    "odd": ("--image-size", "16x21", "hears 16 mel bands of at most 48 frames of 10 ms, in pairs"),
    "label": ("--label-by", "(", "neither 'folder' nor a regular expression"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_heard_is_refused_in_one_line(atm, speech, tmp_path, name):
    option, value, said = REFUSED[name]
    given = {"--victim": speech["victim"], "--data": speech["data"], "--label-by": r"(\d)_s"} | {option: value}
    words = [word for pair in given.items() for word in pair]
    code, _, err = atm("attack", *words, "--images", 4, "--auxiliary", 40, "--out", tmp_path / "run")
    assert code == 2 and said in err and err.strip().count("\n") == 0, err
    assert not (tmp_path / "run").exists()


def test_a_picture_model_says_that_sounds_are_no_pictures(atm, speech, tmp_path):
    code, _, err = atm("attack", "--data", speech["data"], "--images", 4, "--auxiliary", 40, "--out", tmp_path / "run")
    assert code == 2 and "holds no pictures in class folders" in err and "not named like a picture" in err
