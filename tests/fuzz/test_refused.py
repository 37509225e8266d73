"""Inputs that have no meaning, each refused for what is wrong with it, before anything is computed or written."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.fuzz import world
from tests.fuzz.commands import check

ATTACK, COMPARE, SWEEP, SEARCH = (list(world.ACCEPTED[name]) for name in ("attack", "compare", "sweep", "search"))
VICTIM, CODEC, HEAD = (list(world.ACCEPTED[f"train {name}"]) for name in ("victim", "codec", "head"))
LONG = "9" * 23

WORDS = [
    ([*ATTACK, "--seed", LONG], "--seed"),
    ([*ATTACK, "--seed", "-1"], "--seed"),
    ([*VICTIM, "--seed", LONG], "--seed"),
    (["selfcheck", "--seed", "-1"], "--seed"),
    ([*ATTACK, "--images", "0"], "too few"),
    ([*ATTACK, "--images", LONG], "fewer|needs at least"),
    ([*ATTACK, "--auxiliary", "19"], "too few"),
    ([*ATTACK, "--repeats", "0"], "--repeats 0"),
    ([*ATTACK, "--budget", "-1"], "--budget -1"),
    ([*ATTACK, "--budget", "nan"], "--budget nan"),
    ([*ATTACK, "--channel", "awgn:-5000"], "out of range"),
    ([*ATTACK, "--channel", "awgn:nan"], "no SNR"),
    ([*ATTACK, "--channel", "rician:5,k=-1"], "k is -1"),
    ([*ATTACK, "--channel", "rician:5,j=1"], "j"),
    ([*ATTACK, "--defense", "gaussian:1e300"], "gaussian"),
    ([*ATTACK, "--defense", "gaussian:nan"], "gaussian"),
    ([*ATTACK, "--defense", "drop"], "drop"),
    ([*ATTACK, "--defense", "drop:1:2:3"], "drop"),
    ([*ATTACK, "--defense", ""], "unknown defence"),
    ([*ATTACK, "--policy", "uniform-nan"], r"\[0, 1\]"),
    ([*ATTACK, "--policy", "none", "--policy", "none"], "two policies"),
    ([*ATTACK, "--policy", ""], "unknown policy"),
    ([*ATTACK, "--attack", ""], "unknown attack"),
    ([*ATTACK, "--accept", "leakage"], "not of the form"),
    ([*ATTACK, "--accept", "leakage<=nan"], "not of the form"),
    ([*ATTACK, "--accept", "luck<=5%"], "unknown quantity"),
    ([*ATTACK, "--data", ""], "name is empty"),
    ([*ATTACK, "--victim", ""], "unknown victim"),
    ([*ATTACK, "--threat", "server-shifted"], "--auxiliary-data"),
    ([*ATTACK, "--threat", "server:awgn:5"], "eavesdropper"),
    ([*ATTACK, "--weights", "victim.safetensors"], "--weights cannot be given"),
    ([*ATTACK, "--image-size", "64"], "--image-size cannot be given"),
    ([*ATTACK, "--mean", "0.5"], "--mean cannot be given"),
    ([*ATTACK, "--classes", "classes.txt"], "--classes cannot be given"),
    ([*ATTACK, "--codec", "codec.safetensors:3"], "not 3"),
    ([*ATTACK, "--resume", "--force"], "one of them"),
    ([*SEARCH, "--images", "1"], "--images 1 are too few"),
    ([*SEARCH, "--evals", "0"], "--evals 0"),
    ([*SEARCH, "--lowest", "nan"], "--lowest"),
    ([*SEARCH, "--reference", "accuracy=2"], "number from 0 to 1"),
    ([*SEARCH, "--at-least", "accuracy=1.5"], "number from 0 to 1"),
    ([*SEARCH, "--at-most", "leakage=-1"], "number from 0 to 1"),
    ([*SEARCH, "--reference", "memory=5"], "no objective of this search"),
    ([*SEARCH, "--objectives", "leakage"], "at least two"),
    ([*SEARCH, "--budget", "-1"], "budget above 0"),
    ([*SEARCH, "--rescored-policies", "-1"], "no negative number"),
    ([*SEARCH, "stray"], "unexpected"),
    ([*SWEEP, "--snr", "0:20:0"], "no range of SNRs"),
    ([*SWEEP, "--snr", "0:1e9:1e-9"], "no range of SNRs"),
    ([*SWEEP, "--snr", "nan"], "no range of SNRs"),
    ([*SWEEP, "--channel", "awgn:5"], "sets the SNR"),
    ([*SWEEP, "--channel", "noiseless"], "no SNR to sweep"),
    ([*SWEEP, "--threat", "eavesdropper:awgn:5"], "--eavesdropper-channel"),
    ([*COMPARE, "--defense", "drop"], "drop"),
    ([*VICTIM, "--epochs", "0"], "--epochs 0"),
    ([*VICTIM, "--recipe", "mnist"], "unknown recipe"),
    ([*VICTIM, "--size", "0"], "image size"),
    ([*VICTIM, "--size", "33"], "patches"),
    ([*CODEC, "--steps", "0"], "--steps 0"),
    ([*CODEC, "--symbols", "0"], "whole numbers from 1"),
    ([*CODEC, "--symbols", "4", "--symbols", "4"], "different"),
    ([*CODEC, "--exit-layer", "4"], "1 to 3"),
    ([*HEAD, "--out", "new.pt"], "must end in .safetensors"),
    ([*HEAD, "--out", "victim.safetensors"], "--force"),
    (["pick", "searched"], "one of --minimize and --maximize"),
    (["pick", "searched", "--minimize", "memory"], "did not measure"),
    (["pick", "searched", "--minimize", "leakage", "--at-least", "accuracy=1"], "relax a bound"),
    (["report", "pictures"], "no run folder"),
    (["list", "atacks"], "did you mean 'attacks'"),
    (["selfcheck", "--null", "-1"], "--null"),
]


@pytest.mark.parametrize(("words", "said"), WORDS, ids=lambda v: " ".join(v[-3:]) if isinstance(v, list) else None)
def test_words_without_meaning(copies, words, said):
    with copies() as folder:
        ended = check(words, folder, must_refuse=True)
        assert re.search(said, ended.refusal), ended.err
        assert len(ended.refusal) < 600, "a line, and not all names that there are"


@pytest.mark.parametrize("command", [ATTACK, COMPARE, SWEEP, SEARCH], ids=lambda words: words[0])
@pytest.mark.parametrize(
    "out", ["policy.yaml", "policy.yaml/run", "pictures", "x" * 300, "loop", "nowhere/..", "/dev/null", "/proc/run"]
)
def test_a_place_that_cannot_be_written(copies, command, out):
    with copies() as folder:
        os.symlink("loop", folder / "loop")
        check([*command[:-2], "--out", out], folder, must_refuse=True)


@pytest.mark.parametrize("command", [VICTIM, CODEC, HEAD], ids=lambda words: words[1])
@pytest.mark.parametrize("out", ["policy.yaml/new.safetensors", "/proc/new.safetensors", "new", "pictures"])
def test_a_file_that_cannot_be_written_is_found_out_before_the_training(copies, command, out):
    with copies() as folder:
        check([*command[:-2], "--out", out], folder, must_refuse=True)


def test_a_report_where_a_folder_stands(copies):
    with copies("run") as folder:
        page: Path = folder / "run/report.html"
        page.unlink()
        page.mkdir()
        assert check(["report", "run"], folder, must_refuse=True).code == 3


POLICIES = {
    "no": "name: no\nthresholds: [1, 1, 1]",
    "number": "name: 5\nthresholds: [1, 1, 1]",
    "list": "name: [a]\nthresholds: [1, 1, 1]",
    "null byte": 'name: "a\\0b"\nthresholds: [1, 1, 1]',
    "escape": 'name: "\\e[31mRED\\e]0;x\\a"\nthresholds: [1, 1, 1]',
    "text": 'exit_layer: "3"\nthresholds: [1, 1, 1]',
    "half": "exit_layer: 2.5\nthresholds: [1, 1, 1]",
    "remove": "remove: 5\nthresholds: [1, 1, 1]",
    "digits": f"thresholds: [{'9' * 400}, 1, 1]",
    "nested": "thresholds: " + "[" * 3000,
    "nan": "thresholds: [.nan, 1, 1]",
    "word": 'proportional_attention: "no"\nthresholds: [1, 1, 1]',
    "twice": "thresholds: [1, 1, 1]\nthresholds: [1, 1, 1]",
    "few": "thresholds: [1, 1]",
    "none": "thresholds: []",
    "unknown": "thresholds: [1, 1, 1]\nthreshold: 1",
}


@pytest.mark.parametrize("name", POLICIES)
def test_policies_without_meaning(copies, name):
    with copies("policy.yaml") as folder:
        (folder / "policy.yaml").write_text(POLICIES[name])
        check([*ATTACK, "--policy", "policy.yaml"], folder, must_refuse=True)
