"""A policy is dropped only where another is surely at least as good everywhere."""

from __future__ import annotations

import math

import pytest
import torch

from audit.pareto.front import front
from audit.pareto.objectives import chosen
from audit.pareto.trials import Trial
from benchmarks.doubt import in_doubt

OBJECTIVES = chosen(["accuracy", "tokens"])


def trial(number: int, accuracy: float, tokens: float, variance: float = 0.0) -> Trial:
    return Trial(number, (1.0,), "", "", {"accuracy": accuracy, "tokens": tokens}, {"accuracy": variance})


@pytest.mark.parametrize("seed", range(5))
def test_without_noise_it_is_the_front(seed):
    points = torch.rand(20, 2, generator=torch.Generator().manual_seed(seed)).mul(8).round()
    trials = [trial(i, a, t) for i, (a, t) in enumerate([*points.tolist(), *points[:3].tolist()])]
    assert in_doubt(trials, OBJECTIVES) == front(trials, OBJECTIVES)


def test_one_is_dropped_where_the_difference_is_1_645_deviations():
    deviation = math.sqrt(2 * 0.01**2)
    for times, kept in ((1.60, [0, 1]), (1.69, [0])):
        pair = [trial(0, 0.5 + times * deviation, 10, 0.01**2), trial(1, 0.5, 10, 0.01**2)]
        assert [t.number for t in in_doubt(pair, OBJECTIVES)] == kept
    assert [t.number for t in in_doubt(pair, OBJECTIVES, 0.96)] == [0, 1]
    fewer = [pair[0], trial(1, 0.5, 9.99, 0.01**2)]
    assert in_doubt(fewer, OBJECTIVES) == fewer, "an exact number is compared exactly"


def test_probabilities_of_several_objectives_are_multiplied():
    def noisy(number: int, value: float) -> Trial:
        noise = {"accuracy": 0.5, "leakage": 0.5}
        return Trial(number, (1.0,), "", "", {"accuracy": value, "leakage": -value}, noise)

    one, both = chosen(["accuracy", "leakage"])[:1], chosen(["accuracy", "leakage"])
    pair = [noisy(0, 1.8), noisy(1, 0.0)]  # .964 in either, .929 in both
    assert len(in_doubt(pair, one)) == 1 and len(in_doubt(pair, both)) == 2


def test_of_none_none_is_left():
    assert in_doubt([], OBJECTIVES) == []
