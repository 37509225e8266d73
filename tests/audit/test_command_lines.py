"""Command lines as text: a shell reads from them what was asked for."""

from __future__ import annotations

import shlex

import pytest

from audit.attack_config import AttackConfig
from audit.command_lines import in_words, without_folders
from audit.train_merging import MergingConfig
from audit.train_placer import PlacerConfig
from audit.train_projector import ProjectorConfig


def test_options_are_left_out_repeated_and_quoted():
    given = {"test_data": None, "quick": True, "grey": False, "seed": 0, "mean": (0.1, 0.2), "label_by": r"(\d) it's"}
    assert shlex.split(in_words(given)) == [
        "--quick", "--seed", "0", "--mean", "0.1", "--mean", "0.2", "--label-by", r"(\d) it's",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (AttackConfig().command("o"), "atm attack --out o"),
        (AttackConfig(policies=("none", "a b"), attacks=("ridge",), budget=None, quick=True).command("o"),
         "atm attack --policy none --policy 'a b' --attack ridge --quick --budget 0 --out o"),
        (PlacerConfig().command(), "atm train placer"),
        (PlacerConfig(budget=5.0, images=10).command(), "atm train placer --images 10 --budget 5.0"),
        (MergingConfig("--victim v", "d", exit_layer=2).command(),
         "atm train merging --victim v --data d --exit-layer 2"),
        (ProjectorConfig("v", "l", "d", layers=3).command(),
         "atm train projector --victim v --lm l --data d --layers 3"),
    ],
)  # fmt: skip
def test_what_is_as_by_default_is_left_out(said, words):
    assert said.split(" --")[0] == words.split(" --")[0] and sorted(shlex.split(said)) == sorted(shlex.split(words))


def test_folders_of_this_machine_are_left_out(tmp_path):
    file = tmp_path / "placer.safetensors"
    file.touch()
    assert without_folders(str(file)) == "placer.safetensors"
    for text in ("torch/cifar10", "a/b", "", "x" * 5000, "question\x00"):
        assert without_folders(text) == text
    assert PlacerConfig(start=str(file)).command() == "atm train placer --start placer.safetensors"
