"""The table of trained defences says what attacks find that were refitted, and those that were not."""

from __future__ import annotations

import pytest
import torch

import defenses
from atm.defence import Defence
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
def rows(victim, pictures, monkeypatch):  # noqa: F811
    monkeypatch.setattr(defenses, "CALIBRATION", 20)
    monkeypatch.setattr(defenses, "create", lambda text: Flip() if text == "flip" else CREATE(text))
    config = AttackConfig(
        policies=("none",), attacks=("ridge",), victim=str(victim), data=str(pictures), images=8, auxiliary=60,
        channel="noiseless",
    )  # fmt: skip
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
