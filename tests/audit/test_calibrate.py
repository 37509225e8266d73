"""``atm calibrate``: a policy that saves what was asked for, and can be attacked."""

from __future__ import annotations

import pytest
import torch

from atm.policy import MergePolicy
from atm.victims import load_victim
from tests.systems import pictures as drawn


@pytest.mark.parametrize("saves", [0.0, 0.2, 0.4])
def test_a_policy_saves_about_what_it_was_asked_for_on_other_pictures(atm, victim, pictures, tmp_path, saves):
    out = tmp_path / "mine.yaml"
    code, said, err = atm("calibrate", saves, "--victim", victim, "--data", pictures, "--out", out)
    assert code == 0 and f"saves-{saves * 100:g}" in said, err
    encoder, policy = load_victim(str(victim)).encoder, MergePolicy.read(out)
    images = drawn(32, 5)
    whole = encoder(images, MergePolicy.uniform(1.0, encoder.depth)).flops.mean()
    with torch.no_grad():
        spent = encoder(images, policy).flops.mean()
    assert float(1 - spent / whole) == pytest.approx(saves, abs=0.12)


def test_it_is_attacked_after_the_layer_that_was_asked_for(atm, victim, pictures, tmp_path):
    out = tmp_path / "mine.yaml"
    asked = ("calibrate", 0.3, "--victim", victim, "--data", pictures, "--exit-layer", 2, "--out", out)
    code, _, err = atm(*asked)
    assert code == 0 and MergePolicy.read(out).device_layers == 2
    assert err.splitlines()[-1] == f"next: atm attack --victim {victim} --data {pictures} --policy none --policy {out}"
    code, _, err = atm(*asked)
    assert code == 2 and "--force" in err
    few = ("--images", 4, "--auxiliary", 40, "--attack", "ridge", "--out", tmp_path / "run")
    code, _, err = atm("attack", "--victim", victim, "--data", pictures, "--policy", out, *few)
    assert code == 0, err


@pytest.mark.parametrize(
    "words, said",
    [
        ((0.97,), "the most"),
        ((1.5,), "0.99"),
        (("nan",), "less than"),
        ((0.3, "--exit-layer", 9), "exit layer 9"),
        ((0.3, "--out", "x.txt"), ".yaml"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(atm, victim, pictures, tmp_path, words, said):
    out = () if "--out" in words else ("--out", tmp_path / "mine.yaml")
    code, _, err = atm("calibrate", words[0], "--victim", victim, "--data", pictures, *words[1:], *out)
    assert code == 2 and said in err and not (tmp_path / "mine.yaml").exists(), err
