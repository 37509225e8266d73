"""Upper limits of a mean: how often chance puts them below it."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
import torch
from scipy.stats import t as student

from privacy_metrics.limits import RESAMPLES, bernstein_limit, skewed_limit

SEEDS = 200


def misses(limit, draw, mean: float) -> float:
    return sum(limit(draw(torch.Generator().manual_seed(seed))) < mean for seed in range(SEEDS)) / SEEDS


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("n", [2, 20, 200])
def test_the_bounded_limit_holds_even_for_rare_and_large_values(rate, n):
    def draw(generator):
        return 10.0 * (torch.rand(n, generator=generator) < rate)

    assert misses(lambda v: bernstein_limit(v, 10.0), draw, 10 * rate) <= 0.05


def test_the_bounded_limit_is_maurers_and_pontils():
    values = torch.tensor([0.0, 1.0, 2.0, 3.0])
    expected = 1.5 + math.sqrt(2 * (5 / 3) * math.log(40) / 4) + 7 * 4 * math.log(40) / 9
    assert bernstein_limit(values, 4.0) == pytest.approx(expected)
    assert bernstein_limit(values.repeat(10_000), 4.0) == pytest.approx(1.5, abs=0.02)


@pytest.mark.parametrize("deviation", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("n", [20, 64])
def test_the_skewed_limit_holds_for_long_tails(deviation, n):
    def draw(generator):
        return torch.exp(deviation * torch.randn(n, generator=generator, dtype=torch.float64))

    assert misses(skewed_limit, draw, math.exp(deviation**2 / 2)) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / SEEDS)


def test_the_skewed_limit_holds_where_a_tenth_is_ten_times_as_large():
    def draw(generator):
        return 1 + 9.0 * (torch.rand(64, generator=generator) < 0.1)

    assert misses(skewed_limit, draw, 1.9) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / SEEDS)


def test_the_skewed_limit_comes_near_with_many_values_and_is_exact_for_equal_ones():
    values = torch.rand(20_000, generator=torch.Generator().manual_seed(0)) + 0.5
    assert float(values.mean()) < skewed_limit(values[:2000], 0.99) and skewed_limit(values[:2000]) < 1.04
    assert skewed_limit(torch.full((30,), 2.5)) == pytest.approx(2.5)


def by_cox(values: list[float], level: float) -> float:
    logs, n = [math.log(value) for value in values], len(values)
    variance = statistics.variance(logs)
    error = math.sqrt(variance / n + variance * variance / (2 * n - 2))
    return math.exp(statistics.fmean(logs) + variance / 2 + float(student.ppf(level, n - 1)) * error)


def by_bootstrap(values: list[float], level: float, seed: int) -> float:
    mean, found = statistics.fmean(values), []
    for rows in np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values))).tolist():
        drawn = [values[row] for row in rows]
        if len(set(drawn)) > 1:
            found.append((statistics.fmean(drawn) - mean) / statistics.stdev(drawn))
    return mean - float(np.quantile(found, 1 - level)) * statistics.stdev(values)


@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize(
    "values",
    [
        [0.5, 1.0, 4.0],
        [0.2, 1.0, 1.5, 3.0, 9.0],
        [1.0] * 30 + [1.1] * 20 + [30.0, 25.0],
        [0.9, 1.0, 1.05, 1.1, 1.2, 1.0, 0.95],
        [1.0, 2.0],
    ],
)
def test_the_skewed_limit_is_the_larger_one_of_coxs_and_the_studentised_bootstraps(values, level):
    expected = max(by_cox(values, level), by_bootstrap(values, level, 3))
    assert skewed_limit(torch.tensor(values, dtype=torch.float64), level, seed=3) == pytest.approx(expected)


def test_a_value_may_be_as_large_as_the_ceiling_and_two_are_enough():
    pair = torch.tensor([0.0, 2.0])
    expected = 1 + math.sqrt(2 * 2 * math.log(40) / 2) + 7 * 2 * math.log(40) / 3
    assert bernstein_limit(pair, 2.0) == pytest.approx(expected)
    with pytest.raises(ValueError, match="positive finite"):
        skewed_limit(torch.ones(3, 2))


def test_what_no_limit_can_be_taken_of_is_refused():
    for values in ([1.0], [1.0, -1.0], [1.0, 5.0]):
        with pytest.raises(ValueError, match="two values from 0 to 2"):
            bernstein_limit(torch.tensor(values), 2.0)
    for values in ([1.0], [1.0, 0.0], [1.0, math.inf]):
        with pytest.raises(ValueError, match="positive finite"):
            skewed_limit(torch.tensor(values))
