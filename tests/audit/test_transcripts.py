"""Whisper's own decoder as the task: what it writes down of merged tokens, and of what attacks rebuild."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from atm.policy import MergePolicy
from atm.tokens import TokenBatch
from atm.victims import load_victim
from atm.victims.transcripts import transcribing
from privacy_metrics.transcripts import plainly, word_errors
from reports.run import Run
from reports.transcripts import SERVER, TRANSCRIPTS, written
from tests.sounds import folder, speaking, whisper

jiwer = pytest.importorskip("jiwer", reason="needs the extra audio (jiwer), which is missing")
CLASSES = ("--label-by", r"(\d)_s", "--group-by", r"_(s\d)_")


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    path = tmp_path_factory.mktemp("speaking")
    model, words = speaking(path / "model")
    return path / "model", model, words


def spectrograms(count, seed=0):
    return torch.rand(count, 1, 16, 48, generator=torch.Generator().manual_seed(seed))


def test_unmerged_it_writes_what_transformers_does(spoken):
    path, model, words = spoken
    encoder = transcribing(load_victim(str(path))).encoder
    sounds = spectrograms(6)
    said = model.generate(encoder.normalise(sounds)[:, 0], do_sample=False, num_beams=1, max_new_tokens=12)
    theirs = [words.decode(row.tolist(), skip_special_tokens=True).strip() for row in said]
    assert encoder.dictated(sounds) == theirs


def test_sounds_of_any_number_of_tokens_are_written_down_as_each_alone(spoken):
    encoder = transcribing(load_victim(str(spoken[0]))).encoder
    policy = MergePolicy.uniform(0.9, 2)
    with torch.no_grad():
        tokens = encoder(spectrograms(8), policy).tokens
    assert len({*tokens.counts}) > 1
    alone = [encoder.transcribe(tokens.select(torch.tensor([row])), policy)[0] for row in range(8)]
    assert encoder.transcribe(tokens, policy) == alone
    noise = tokens.with_values(torch.randn(tokens.values.shape, generator=torch.Generator().manual_seed(0)) * 3)
    assert encoder.transcribe(noise, policy) != alone
    assert isinstance(tokens, TokenBatch)


def test_transcripts_are_the_task_and_what_is_heard_in_reconstructions_is_told(atm, spoken, tmp_path):
    sounds = folder(tmp_path / "sounds", 96)
    out = tmp_path / "run"
    code, _, errors = atm(
        "attack", "--victim", spoken[0], "--data", sounds, *CLASSES, "--head", "decoder", "--policy", "none",
        "--policy", "uniform-0.9", "--channel", "noiseless", "--codec", "uncoded", "--attack", "ridge", "--images", 12,
        "--auxiliary", 40, "--out", out,
    )  # fmt: skip
    assert code == 0, errors
    run = Run.read(out)
    assert run.finished and run.about["task"] == "accuracy" and run.about["transcripts"]
    table = pd.read_csv(out / TRANSCRIPTS, keep_default_na=False, na_values=[])
    assert {*table.attack} == {SERVER, *run.attacks} and len(table) == 2 * 12 * (1 + len(run.attacks))
    server = table[(table.policy == "none") & (table.attack == SERVER)].sort_values("image")
    truth = [str(int(label)) for label in run.per_image("none", "label")]  # the classes are 0 and 1
    assert server.wrong.tolist() == pytest.approx(word_errors(server.said.tolist(), truth))
    right = [plainly(said) == plainly(name) for said, name in zip(server.said, truth, strict=True)]
    assert run.per_image("none", "correct").tolist() == [float(each) for each in right]
    rows = {(row.policy, row.attack): row for row in written(run)}
    assert rows["none", SERVER].rate.estimate == pytest.approx(server.wrong.mean())
    seen = run.values("none", "ridge", "label_seen")
    heard = table[(table.policy == "none") & (table.attack == "ridge")].sort_values("image")
    assert seen.tolist() == (heard.wrong == 0).astype(float).tolist()
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "What was written down" in page and "what the server gets" in page
    assert np.isfinite(table.wrong).all()
    with open(out / TRANSCRIPTS, "a", encoding="utf-8") as file:
        file.write("none,ridge,0\n")
    assert atm("report", out)[0] == 0  # what is not known to be finished does not count


def test_policies_are_searched_for_transcripts(atm, spoken, tmp_path):
    code, _, errors = atm(
        "search", "--victim", spoken[0], "--data", folder(tmp_path / "sounds", 60), *CLASSES[:2], "--head", "decoder",
        "--codec", "uncoded", "--images", 8, "--auxiliary", 40, "--evals", 3, "--lowest", 0.0, "--no-rescore", "--out",
        tmp_path / "s",
    )  # fmt: skip
    assert code == 0, errors
    page = (tmp_path / "s" / "report.html").read_text(encoding="utf-8")
    assert "leakage (spectrogram SSIM)" in page and "8 sounds, the same" in page


def test_who_has_no_decoder_is_refused_in_one_line(atm, spoken, victim, pictures, tmp_path, capsys):
    whisper(tmp_path / "encoder")
    capsys.readouterr()  # the bars of what was just written
    sounds, out = folder(tmp_path / "sounds", 60), tmp_path / "run"
    few = ("--images", 5, "--auxiliary", 20, "--head", "decoder", "--codec", "uncoded", "--out", out)
    for words, told in (
        (("--victim", tmp_path / "encoder", "--data", sounds, *CLASSES), "is for Whisper with its decoder"),
        (("--victim", victim, "--data", pictures), "is for Whisper with its decoder"),
        (("--victim", spoken[0], "--data", sounds, "--label-by", r"(_(?=s[0-2])|\.)"), "has no word that could"),
        (("--victim", spoken[0], "--data", sounds, "--label-by", r"\d_s\d+(_)"), "all sounds are of class '_'"),
    ):
        code, _, errors = atm("attack", *words, *few)
        assert code == 2 and told in errors and errors.count("\n") == 1, errors
        assert not out.exists()
    (tmp_path / "mute").mkdir()
    for file in ("config.json", "model.safetensors"):
        (tmp_path / "mute" / file).write_bytes((spoken[0] / file).read_bytes())
    code, _, errors = atm("attack", "--victim", tmp_path / "mute", "--data", sounds, *CLASSES, *few)
    assert code == 2 and "has no tokenizer.json" in errors
