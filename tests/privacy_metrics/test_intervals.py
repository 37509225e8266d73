"""Intervals against other implementations and by definition, at the edges where one would be too narrow."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.stats import bootstrap, norm

from privacy_metrics.statistics import (
    Interval,
    bootstrap_mean,
    bootstrap_repeats,
    paired_difference,
    paired_effect,
    percentile_95,
    wilson,
    wilson_repeats,
)

TABLES = st.tuples(st.integers(2, 5), st.integers(2, 30)).flatmap(
    lambda shape: st.lists(
        st.lists(st.booleans(), min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0]
    )
)


def ends_by_solving(rate: float, trials: float, level: float) -> tuple[float, float]:
    """The two rates from which so many trials deviate by just as many standard errors as the level allows."""
    z = statistics.NormalDist().inv_cdf((1 + level) / 2)

    def beyond(p: float) -> float:
        return abs(rate - p) - z * math.sqrt(p * (1 - p) / trials)

    low = 0.0 if rate == 0 else brentq(beyond, 0, rate - 1e-12, xtol=1e-14)
    return low, 1.0 if rate == 1 else brentq(beyond, rate + 1e-12, 1, xtol=1e-14)


@settings(max_examples=80)
@given(TABLES, st.sampled_from([0.8, 0.95, 0.99]))
def test_a_rate_of_repeats_rests_on_as_many_trials_as_its_variance_says(table, level):
    repeats, n = len(table), len(table[0])
    rate = sum(map(sum, table)) / (repeats * n)
    of_images = statistics.pvariance([sum(column) / repeats for column in zip(*table, strict=True)]) / n
    of_repeats = statistics.variance([sum(row) / n for row in table]) / repeats
    variance = of_images + of_repeats
    trials = min(n, rate * (1 - rate) / variance) if variance > 1e-15 and 0 < rate < 1 else n
    found = wilson_repeats(np.array(table), level)
    assert (found.low, found.high) == pytest.approx(ends_by_solving(rate, trials, level), abs=1e-9)
    assert (found.estimate, found.n, found.level) == (pytest.approx(rate), n, level)
    assert 0 <= found.low <= found.estimate + 1e-12 and found.estimate - 1e-12 <= found.high <= 1


@given(TABLES)
def test_repeats_never_narrow_the_interval_of_a_rate_beyond_that_of_as_many_pictures(table):
    found = wilson_repeats(np.array(table))
    low, high = ends_by_solving(found.estimate, found.n, 0.95)
    assert found.low <= low + 1e-9 and found.high >= high - 1e-9


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "n"), [(0, 20), (3, 10), (99, 100), (7, 7)])
def test_wilsons_ends_are_where_the_score_test_is_undecided(successes, n, level):
    found, z = wilson(successes, n, level), norm.ppf((1 + level) / 2)
    for end in (found.low, found.high):
        if 1e-9 < end < 1 - 1e-9:
            assert abs(successes / n - end) == pytest.approx(z * math.sqrt(end * (1 - end) / n))
    assert found.low <= successes / n <= found.high


def test_one_repeat_or_one_picture_is_plain_wilson():
    hits = torch.tensor([[True, False, True, True]])
    assert wilson_repeats(hits, 0.9) == wilson(3, 4, 0.9)
    assert wilson_repeats(hits[:, :1]) == wilson(1, 1)
    single = wilson_repeats(hits.T)
    assert (single.low, single.high) == pytest.approx(ends_by_solving(0.75, 1, 0.95)) and single.n == 1
    assert wilson_repeats(np.ones((3, 20), bool)).high == 1.0 and wilson_repeats(np.zeros((3, 20), bool)).low == 0.0


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_bootstrap_of_a_mean_is_scipys(level):
    values = np.random.default_rng(0).gamma(0.5, size=60)
    theirs = bootstrap((values,), np.mean, confidence_level=level, n_resamples=700, rng=np.random.default_rng(4))
    found = bootstrap_mean(values, level=level, resamples=700, seed=4)
    assert (found.low, found.high) == pytest.approx(theirs.confidence_interval)
    assert found.high - values.mean() > values.mean() - found.low, "it follows the skew"
    assert (found.estimate, found.n, found.level) == (pytest.approx(values.mean()), 60, level)
    assert bootstrap_mean(values).level == bootstrap_repeats(values[None]).level == wilson(1, 2).level == 0.95


def test_more_resamples_are_less_at_the_mercy_of_the_seed():
    values = np.random.default_rng(1).normal(size=40)
    spread = [np.std([bootstrap_mean(values, resamples=r, seed=s).low for s in range(20)]) for r in (50, 2000)]
    assert spread[1] < spread[0] / 2 and bootstrap_mean(values) == bootstrap_mean(values, resamples=2000, seed=0)
    crossed = [
        np.std([bootstrap_repeats(values[None], resamples=r, seed=s).low for s in range(10)]) for r in (50, 1000)
    ]
    assert crossed[1] < crossed[0] / 2
    assert bootstrap_repeats(values[None, :9]) == bootstrap_repeats(values[None, :9], resamples=2000, seed=0)
    assert bootstrap_repeats(values[None]) != bootstrap_repeats(values[None], seed=1)


def test_values_that_are_all_the_same_have_an_interval_without_width_and_no_others():
    for value in (0.0, 0.3, -7.0, 1e6):
        found = bootstrap_mean([value] * 5)
        assert found == Interval(pytest.approx(value), found.estimate, found.estimate, 5)
    nearly = bootstrap_mean([1e6, 1e6 + 1e-7, 1e6])
    assert nearly.low == nearly.estimate == nearly.high, "the same to twelve digits"
    apart = bootstrap_mean([0.0, 1e-11, 2e-11, 3e-11])
    assert apart.low < apart.estimate < apart.high
    assert bootstrap_mean([1e6, 1e6 + 1, 1e6 + 2]).low < 1e6 + 1
    two = bootstrap_mean([0.25, 0.75])
    assert two.low < 0.5 < two.high and two.n == 2


def test_the_paired_difference_is_of_the_first_minus_the_second():
    random = np.random.default_rng(2)
    a, b = random.normal(size=30) + 1, random.normal(size=30)
    assert paired_difference(a, b, level=0.9, resamples=300, seed=3) == bootstrap_mean(
        a - b, level=0.9, resamples=300, seed=3
    )
    assert paired_difference(a, b) == bootstrap_mean(a - b)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_crossed_bootstrap_adds_the_variances_of_images_and_of_repeats(level):
    """Many of both, so that the interval is that of a normal sum of the two."""
    random = np.random.default_rng(3)
    images, repeats = random.normal(size=60), 0.5 * random.normal(size=30)
    found = bootstrap_repeats(images[None] + repeats[:, None], resamples=1500, level=level)
    half = norm.ppf((1 + level) / 2) * math.sqrt(images.var() / 60 + repeats.var() / 30)
    assert found.estimate == pytest.approx(images.mean() + repeats.mean())
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)
    assert (found.high + found.low) / 2 == pytest.approx(found.estimate, abs=0.15 * half)
    assert (found.n, found.level) == (60, level)


def test_statistics_are_of_images_and_averaged_over_repeats():
    table = np.random.default_rng(4).uniform(size=(3, 41))
    assert bootstrap_repeats(table, percentile_95, resamples=50).estimate == pytest.approx(
        np.mean([sorted(row)[38] for row in table])
    ), "of 41 values, two are above the 95th percentile"
    assert bootstrap_repeats(table, resamples=50).estimate == pytest.approx(table.mean())
    assert bootstrap_repeats(torch.tensor(table, requires_grad=True), resamples=50).n == 41


def test_a_single_picture_has_no_interval_and_two_have_one():
    single = bootstrap_repeats(np.array([[0.2], [0.4]]))
    assert single.estimate == pytest.approx(0.3) and math.isnan(single.low) and math.isnan(single.high)
    assert (single.n, single.level) == (1, 0.95)
    two = bootstrap_repeats(np.array([[0.2, 0.4]]))
    assert (two.low, two.high) == pytest.approx((0.2, 0.4)) and two.n == 2
    assert math.isnan(bootstrap_mean([0.3], level=0.8).low) and bootstrap_mean([0.3], level=0.8).level == 0.8


def test_effect_sizes_of_equal_differences_are_infinite_with_their_sign_or_none():
    up, down = paired_effect([1.5, 1.75], [0.5, 0.75]), paired_effect([0.5, 0.75], [1.5, 1.75])
    assert (up.size, down.size) == (math.inf, -math.inf) and down.difference.estimate == -1
    assert paired_effect([0.5, 0.6, 0.7], [0.5, 0.6, 0.7]).size == 0
    assert paired_effect([1.0, 1.0 + 1e-13], [1.0, 1.0]).size == 0, "rounding is no effect"
    assert paired_effect([1e-6, 3e-6], [0.0, 0.0]).size == pytest.approx(math.sqrt(2))
    assert paired_effect([1e6 + 1e-7, 1e6], [0.0, 0.0]).size == math.inf
    assert paired_effect([1.0, 3.0], [0.0, 0.0], level=0.8).difference.level == 0.8
    with pytest.raises(ValueError, match="one pair"):
        paired_effect([1.0], [0.0])


@pytest.mark.parametrize("table", [np.array([[0.0, 1.0]]), np.array([[0.0, 1.0], [1.0, 1.0]])], ids=("one", "two"))
@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 1.1])
def test_impossible_levels_are_refused_everywhere(level, table):
    for interval in (bootstrap_mean, bootstrap_repeats, wilson_repeats, lambda t, level: wilson(1, 2, level)):
        with pytest.raises(ValueError, match="level is"):
            interval(table[0] if interval is bootstrap_mean else table, level=level)


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((2, 0)), np.zeros((1, 1, 1)), np.array([[0.5, np.inf]])])
def test_tables_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match=r"values (have|hold)"):
        wilson_repeats(bad)
    with pytest.raises(ValueError, match="values"):
        bootstrap_mean(bad[None] if bad.ndim == 1 else bad)


def test_pairs_are_of_as_many_values():
    for first, second in (([0.1, 0.2], [0.1]), ([0.1], [0.1, 0.2])):  # NumPy would stretch the single value
        with pytest.raises(ValueError, match="paired values"):
            paired_difference(first, second)


def test_impossible_counts_are_refused():
    for successes, n in ((0, 0), (-1, 5), (6, 5), (1, -1)):
        with pytest.raises(ValueError, match=f"{successes} successes"):
            wilson(successes, n)
    assert wilson(0, 1).estimate == 0 and wilson(1, 1).estimate == 1
