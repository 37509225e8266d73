"""An adversary's limits (few, foreign or unsent images) decide what attacks are handed."""

from __future__ import annotations

import pytest
import torch

import audit.evaluate
from atm.errors import AtmError, KnowledgeError
from attacks import available
from attacks.mean_image import MeanImage
from audit.evaluate import attack
from audit.setting import AttackConfig, prepare


def config(victim, pictures, tmp_path, **limits) -> AttackConfig:
    knows = ["codec", "policy", "merge_map", "sizes", "snr", "auxiliary", "order"]
    lines = [f"{key}: {value}" for key, value in {"name": "limited", "knows": knows, **limits}.items()]
    (tmp_path / "threat.yaml").write_text("\n".join(lines))
    return AttackConfig(
        policies=("none",), attacks=("ridge",), victim=str(victim), data=str(pictures), images=4, auxiliary=60,
        threat=str(tmp_path / "threat.yaml"),
    )  # fmt: skip


def test_few_auxiliary_images_are_few(victim, pictures, tmp_path):
    data = prepare(config(victim, pictures, tmp_path, auxiliary=25)).data
    assert len(data.auxiliary) + len(data.validation) <= 25


def test_what_may_not_be_sent_is_only_studied(victim, pictures, tmp_path, monkeypatch):
    studied, fitted = [], []

    class Student(MeanImage):
        name = "student"

        def fit(self, oracle):
            super().fit(oracle)
            studied.append(oracle.unsent)
            fitted.append(oracle.images)
            assert len(oracle.observe()) == len(oracle.observe()) == 30, "what was sent is looked at again for nothing"
            with pytest.raises(KnowledgeError, match="allows 30 queries, and 31 images were sent"):
                oracle.tap(oracle.images[:1])

    asked = config(victim, pictures, tmp_path, queries=30)
    setting = prepare(asked)
    assert setting.unsent is not None and len(setting.data.auxiliary) + len(setting.data.validation) == 30
    known = {**available(), "ridge": Student}
    monkeypatch.setattr(audit.evaluate, "available", lambda: known)
    attack(asked, tmp_path / "run")
    assert len(fitted[0]) == 30 and torch.equal(studied[0][:], setting.unsent[:])
    sent = {image.numpy().tobytes() for image in fitted[0]}
    assert not any(image.numpy().tobytes() in sent for image in studied[0])


def test_images_of_another_distribution_must_be_named(victim, pictures, tmp_path):
    asked = config(victim, pictures, tmp_path, shifted="true")
    with pytest.raises(AtmError, match="give --auxiliary-data"):
        prepare(asked)
    other = AttackConfig(**{**asked.__dict__, "threat": "server", "auxiliary_data": "photos"})
    assert prepare(other).threat.shifted and "of another distribution" in prepare(other).about["threat_in_words"]
