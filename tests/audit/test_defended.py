"""A defended run: recorded, repeatable, resumable, and attacked with other randomness than the victims'."""

from __future__ import annotations

import json

import torch

import audit.setting
from atm.link import Link

FEW = ("--images", 4, "--auxiliary", 60, "--attack", "ridge", "--policy", "none", "--channel", "noiseless")


def test_attacks_train_on_other_draws_than_the_victims_transmission(atm, victim, pictures, tmp_path, monkeypatch):
    sent = {}

    def stream(self, images, seed=0, batch=128):
        parts = list(original(self, images, seed, batch))
        if self.defence is not None:
            sent.setdefault(len(images), []).append((seed, parts[0].sent.source[0]))
        return iter(parts)

    original = Link.stream
    monkeypatch.setattr(Link, "stream", stream)
    words = ("attack", "--victim", victim, "--data", pictures, *FEW, "--defense", "drop:0.5")
    assert atm(*words, "--out", tmp_path / "run")[0] == 0
    victims = sent.pop(4)
    assert len(victims) == 1 and sent
    for training in sent.values():
        for seed, source in training:
            assert seed != victims[0][0] and not torch.equal(source, victims[0][1])


def test_a_defence_is_recorded_and_a_resumed_run_must_have_the_same(atm, victim, pictures, tmp_path):
    words = ("attack", "--victim", victim, "--data", pictures, *FEW, "--out", tmp_path / "run")
    assert atm(*words, "--defense", "gaussian:0.5")[0] == 0
    about = json.loads((tmp_path / "run/run.json").read_text())
    assert about["defence"] == "gaussian:0.5" and about["config"]["defense"] == "gaussian:0.5"
    code, _, err = atm(*words, "--resume")
    assert code == 2 and "defense" in err
    assert atm(*words, "--defense", "gaussian:0.5", "--resume")[0] == 0


def test_a_secret_order_is_met_by_attacks_that_recover_it(victim, pictures):
    setting = audit.setting.prepare(
        audit.setting.AttackConfig(policies=("none",), victim=str(victim), data=str(pictures), images=4, auxiliary=60,
                                    defense="shuffle")
    )  # fmt: skip
    assert {"position", "ridge", "decoder", "optimization"} <= set(setting.attacks)


def test_a_wrong_defence_is_one_line(atm, victim, pictures, tmp_path):
    code, _, err = atm(
        "attack", "--victim", victim, "--data", pictures, "--defense", "dropp:0.5", "--out", tmp_path / "r"
    )
    assert code == 2 and "did you mean 'drop'" in err and len(err.strip().splitlines()) == 1
