"""The table of trained defences says what attacks find that were refitted, and those that were not."""

from __future__ import annotations

import pytest
import torch

import defenses
from atm.defence import Defence
from attacks import BASELINES
from audit.setting import AttackConfig
from benchmarks import defended
from tests.audit.conftest import pictures, victim  # noqa: F401

CREATE = defenses.create


class Flip(Defence):
    """Turns the sign of every value: the answer moves, and nothing is hidden."""

    name = "flip"

    def protect(self, tokens, generator=None):
        """The other way round."""
        return tokens.with_values(-tokens.values)


@pytest.fixture
def config(victim, pictures, monkeypatch):  # noqa: F811
    monkeypatch.setattr(defenses, "CALIBRATION", 20)
    monkeypatch.setattr(defenses, "create", lambda text: Flip() if text == "flip" else CREATE(text))
    return AttackConfig(
        policies=("none",), attacks=("ridge",), victim=str(victim), data=str(pictures), images=8, auxiliary=60,
        channel="noiseless",
    )  # fmt: skip


@pytest.fixture
def rows(config):
    return list(defended.rows(config, ["flip"]))


def test_a_flip_hides_from_the_attack_as_it_was_and_not_from_the_refitted_one(rows):
    plain, flipped, noise = rows
    assert plain[defended.REFITTED] == plain[defended.AS_IT_WAS] and plain["gain"] == 0
    assert flipped[defended.AS_IT_WAS]["ridge"] < plain[defended.REFITTED]["ridge"] - 0.1
    assert flipped[defended.REFITTED]["ridge"] == pytest.approx(plain[defended.REFITTED]["ridge"], abs=0.02)
    assert flipped["distance_correlation"] == pytest.approx(plain["distance_correlation"], abs=1e-4)
    assert noise["beside"] == "flip" and noise["accuracy"] >= flipped["accuracy"]
    assert torch.tensor([row["gain_low"] <= row["gain"] <= row["gain_high"] for row in rows]).all()
    assert noise["gain"] == pytest.approx(noise["accuracy"] - plain["accuracy"])
    assert len(defended.table(rows).splitlines()) == 2 + len(rows)


def test_a_random_picture_is_no_attack_and_no_bar(config, monkeypatch):
    """Where it is the likest by chance, the worst case is that of the attack, and the bar that of the mean picture."""
    scores = {name: torch.full((8,), 0.2) for name in BASELINES["image"].constant}
    scores |= {BASELINES["image"].random: torch.full((8,), 0.9), "ridge": torch.tensor([0.6] * 6 + [0.1] * 2)}
    monkeypatch.setattr(defended, "scored", lambda *asked: scores)
    (plain,) = defended.rows(config, [])
    found = plain[defended.REFITTED]
    assert found["ssim"] == pytest.approx((6 * 0.6 + 2 * 0.2) / 8) and found["low"] < found["ssim"] < found["high"]
    assert found["recognised"] == 6 and found["blind"] == pytest.approx(0.2)
    assert found[BASELINES["image"].random] == pytest.approx(0.9)


def test_noise_of_equal_accuracy_is_the_strongest_that_leaves_as_many_right(monkeypatch):
    class Falling:
        """Answers nine in ten rightly until the noise has three deviations, and a half then."""

        def right(self, text):
            return torch.tensor([0.9 if float(text.removeprefix("gaussian:")) <= 3 else 0.5])

    class Nothing:
        policies, data = (None,), None

        def link(self, policy):
            return None

    monkeypatch.setattr(defended, "defended", lambda plain, text, data, seed: text)
    for wanted, strength in ((0.8, 3.0), (0.95, 0.0), (0.4, defended.STRONGEST)):
        found = defended.noise_of_equal_accuracy(Nothing(), Falling(), wanted, 0)
        assert float(found.removeprefix("gaussian:")) == pytest.approx(strength, abs=0.01)
