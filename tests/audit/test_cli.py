"""The command line as a user meets it: good runs, bad input, and runs that were killed."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import audit.evaluate
from attacks import BASELINES
from reports.run import Run
from tests.audit.conftest import parse

FEW = (
    "--images",
    6,
    "--auxiliary",
    60,
    "--attack",
    "ridge",
    "--channel",
    "awgn:10",
    "--policy",
    "none",
    "--policy",
    "uniform-0.5",
)


def ask(victim, pictures, out):
    return ("attack", "--victim", victim, "--data", pictures, "--out", out, *FEW)


def test_attack_writes_a_whole_run_and_says_what_it_found(atm, victim, pictures, tmp_path):
    code, out, err = atm(*ask(victim, pictures, tmp_path / "run"), "--json")
    assert code == 0
    assert "provable bounds" not in err, "of six pictures there are none"
    result = parse(out)
    assert [p["policy"] for p in result["policies"]] == ["none", "uniform-0.5"]
    assert result["policies"][0]["flags"], "six pictures are too few for a verdict of privacy"
    run = Run.read(tmp_path / "run")
    assert run.finished and run.attacks == [*BASELINES["image"].blind, "ridge"]
    assert len(run.scores) == 2 * 4 * 6 * len(run.about["metrics"])
    assert (tmp_path / "run/report.html").exists()
    assert run.image_file("none", "ridge", 5).exists() and run.image_file("none", "original", 5).exists()
    originals = np.asarray(Image.open(run.image_file("none", "original", 0)))
    rebuilt = np.asarray(Image.open(run.image_file("none", "ridge", 0)))
    assert not np.array_equal(originals, rebuilt), "a reconstruction must never be the original"
    assert not list((tmp_path / "run").rglob("*.partial"))


def test_the_same_seed_gives_the_same_numbers(atm, victim, pictures, tmp_path):
    for name in ("a", "b"):
        assert atm(*ask(victim, pictures, tmp_path / name))[0] == 0
    assert (tmp_path / "a/scores.csv").read_bytes() == (tmp_path / "b/scores.csv").read_bytes()
    assert atm(*ask(victim, pictures, tmp_path / "c"), "--seed", 1)[0] == 0
    assert (tmp_path / "a/scores.csv").read_bytes() != (tmp_path / "c/scores.csv").read_bytes()


@pytest.mark.parametrize("kill_at", [0, 2, 4])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(atm, victim, pictures, tmp_path, monkeypatch, kill_at):
    assert atm(*ask(victim, pictures, tmp_path / "whole"))[0] == 0
    started = []

    def fitted(setting, session, name, budget):
        started.append(name)
        if len(started) == kill_at + 1:
            raise KeyboardInterrupt
        return original(setting, session, name, budget)

    original = audit.evaluate._fitted
    monkeypatch.setattr(audit.evaluate, "_fitted", fitted)
    assert atm(*ask(victim, pictures, tmp_path / "killed"))[0] == 130
    code, _, err = atm(*ask(victim, pictures, tmp_path / "killed"))
    assert code == 2 and "--resume" in err
    assert atm(*ask(victim, pictures, tmp_path / "killed"), "--resume")[0] == 0
    assert len(started) == 9, "eight pairs of policy and attack, and the one that was killed"
    assert (tmp_path / "whole/scores.csv").read_bytes() == (tmp_path / "killed/scores.csv").read_bytes()
    assert (tmp_path / "whole/link.csv").read_bytes() == (tmp_path / "killed/link.csv").read_bytes()


def test_a_resumed_run_must_be_asked_for_the_same(atm, victim, pictures, tmp_path):
    assert atm(*ask(victim, pictures, tmp_path / "run"))[0] == 0
    code, _, err = atm(*ask(victim, pictures, tmp_path / "run"), "--seed", 4, "--resume")
    assert code == 2 and "seed" in err
    assert atm(*ask(victim, pictures, tmp_path / "run"), "--seed", 4, "--force")[0] == 0


def test_files_that_are_no_pictures_are_skipped_and_counted(atm, victim, pictures, tmp_path):
    broken = tmp_path / "data"
    shutil.copytree(pictures, broken)
    whole = (broken / "cat/1.png").read_bytes()
    (broken / "cat/1.png").write_bytes(whole[: len(whole) // 2])
    (broken / "dog/2.png").write_text("no picture")
    (broken / "dog/3.png").write_bytes(b"")
    everything = ("--auxiliary", 80)  # a smaller run does not open every file
    code, _, err = atm(*ask(victim, broken, tmp_path / "run"), *everything)
    assert code == 0
    skipped = Run.read(tmp_path / "run").about["data"]["skipped"]
    assert any(line.startswith("cat/1.png: ") for line in skipped)
    assert any(line.startswith("2 files: ") and "dog/2.png" in line for line in skipped), "a line for each kind"
    assert "cat/1.png" in err


BAD = [
    (("--policy", "agressive"), "did you mean 'aggressive'"),
    (("--policy", "missing.yaml"), "missing.yaml"),
    (("--policy", "uniform-1.5"), "[0, 1]"),
    (("--policy", "uniform-nan"), "[0, 1]"),
    (("--attack", "rigde"), "did you mean 'ridge'"),
    (("--channel", "awgn:loud"), "no SNR"),
    (("--channel", "awng:3"), "did you mean 'awgn'"),
    (("--threat", "sever"), "did you mean 'server'"),
    (("--data", "no/such/folder"), "no/such/folder"),
    (("--victim", "vit_small_patch16_22"), "did you mean 'vit_small_patch16_224'"),
    (("--victim", "nothing"), "unknown victim 'nothing': shipped are vit_cifar10 and vit_photos"),
    (("--victim", "missing.safetensors"), "no such file"),
    (("--codec", "missing.safetensors"), "no such file"),
    (("--images", 1000), "1000"),
    (("--images", 0), "too few"),
    (("--images", "many"), "--images"),
]


@pytest.mark.parametrize("words, said", BAD, ids=lambda v: str(v))
def test_bad_input_is_one_clear_line_and_leaves_nothing(atm, victim, pictures, tmp_path, words, said):
    command = [w for w in ask(victim, pictures, tmp_path / "run")]
    code, out, err = atm(*command, *words)
    assert code == 2, err
    assert said in err and "Traceback" not in err and out == ""
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_bad_files_are_one_clear_line(atm, victim, pictures, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.tar").write_bytes(b"not a tar")
    (tmp_path / "broken.safetensors").write_bytes(victim.read_bytes()[:1000])
    (tmp_path / "p.yaml").write_text("thresholds: [0.5, 0.5]")
    (tmp_path / "used").mkdir()
    (tmp_path / "used/thesis.txt").write_text("mine")
    for words, said in [
        (("--data", tmp_path / "empty"), "empty"),
        (("--data", tmp_path / "broken.tar"), "broken.tar"),
        (("--victim", tmp_path / "broken.safetensors"), "broken.safetensors"),
        (("--victim", "vit_tiny_patch16_224", "--weights", victim), "another architecture"),
        (("--policy", tmp_path / "p.yaml"), "2 thresholds but the victim has 3"),
        (("--out", tmp_path / "used"), "no run"),
    ]:
        code, _, err = atm(*ask(victim, pictures, tmp_path / "run"), *words)
        assert code == 2 and said in err and len(err.strip().splitlines()) == 1, err
    assert (tmp_path / "used/thesis.txt").read_text() == "mine"


def test_force_never_touches_what_is_no_run(atm, victim, pictures, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    code, _, err = atm(*ask(victim, pictures, tmp_path), "--force")
    assert code == 2 and "no run" in err
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_bad_input_does_not_destroy_the_run_that_was_to_be_replaced(atm, victim, pictures, tmp_path):
    assert atm(*ask(victim, pictures, tmp_path / "run"))[0] == 0
    code, _, _ = atm(*ask(victim, pictures, tmp_path / "run"), "--policy", "agressive", "--force")
    assert code == 2 and Run.read(tmp_path / "run").finished


def test_a_report_can_be_written_again_and_damage_is_named(atm, victim, pictures, tmp_path):
    assert atm(*ask(victim, pictures, tmp_path / "run"))[0] == 0
    (tmp_path / "run/report.html").unlink()
    assert atm("report", tmp_path / "run")[0] == 0
    assert (tmp_path / "run/report.html").exists()
    (tmp_path / "run/scores.csv").write_text("policy,attack\n")
    code, _, err = atm("report", tmp_path / "run")
    assert code == 2 and "scores.csv" in err
    code, _, err = atm("report", tmp_path / "nothing")
    assert code == 2 and "no run folder" in err


@pytest.mark.parametrize(
    "what", ["attacks", "defenses", "channels", "victims", "data", "policies", "threats", "metrics"]
)
def test_lists(atm, what):
    code, out, _ = atm("list", what, "--json")
    assert code == 0 and all(row["name"] for row in json.loads(out))
    assert atm("list", what)[0] == 0


def test_an_unknown_list_is_named(atm):
    code, _, err = atm("list", "atacks")
    assert code == 2 and "did you mean 'attacks'" in err


@pytest.mark.parametrize("words", [(), ("--help",), ("attack", "--help"), ("train", "--help"), ("report", "--help")])
def test_help(atm, words):
    code, out, err = atm(*words)
    assert "Usage" in out + err and (code == 0 or not words)


def test_the_demo_tries_every_attack_on_three_policies_and_ends_in_minutes(atm, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("audit.cli._attack", lambda config, *rest: asked.append(config))
    code, _, _ = atm("demo", "--out", tmp_path / "run")
    (config,) = asked
    assert code == 0 and not config.attacks and len(config.policies) == 3
    assert config.budget * len(config.policies) <= 300
