"""Intervals: do they cover what they claim to cover?"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy_metrics.statistics import bootstrap_mean, paired_difference, wilson

pytestmark = pytest.mark.filterwarnings("error")
SCORES = st.lists(st.floats(-100, 100), min_size=2, max_size=40)


def test_the_bootstrap_covers_the_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    samples = [rng.normal(0.5, 0.1, size=60) for _ in range(300)]
    intervals = [bootstrap_mean(sample, resamples=500, seed=seed) for seed, sample in enumerate(samples)]
    covered = np.mean([interval.low <= 0.5 <= interval.high for interval in intervals])
    assert 0.88 < covered < 0.99


def test_the_bootstrap_of_normal_values_is_about_the_normal_interval():
    values = np.random.default_rng(1).normal(0.5, 0.1, size=400)
    interval = bootstrap_mean(values)
    error = 1.96 * values.std(ddof=1) / 20
    assert interval.estimate == pytest.approx(values.mean())
    assert (interval.low, interval.high) == pytest.approx(
        (values.mean() - error, values.mean() + error), abs=error / 10
    )
    assert (interval.n, interval.level) == (400, 0.95)


def test_more_confidence_and_fewer_values_make_it_wider():
    values = np.random.default_rng(2).normal(size=200)
    width = [
        i.high - i.low
        for i in (bootstrap_mean(values), bootstrap_mean(values, level=0.99), bootstrap_mean(values[:50]))
    ]
    assert width[0] < width[1] < width[2]


@given(SCORES, st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_the_bootstrap_lies_around_the_mean_and_within_the_values(values, seed):
    interval = bootstrap_mean(values, resamples=200, seed=seed)
    slack = 1e-9 * max(1, *map(abs, values))
    assert min(values) - slack <= interval.low <= interval.estimate + slack
    assert interval.estimate - slack <= interval.high <= max(values) + slack


@given(SCORES, st.floats(-10, 10))
@settings(max_examples=20, deadline=None)
def test_a_constant_difference_is_known_exactly(values, shift):
    a = np.asarray(values)
    interval = paired_difference(a + shift, a, resamples=100)
    assert (interval.low, interval.estimate, interval.high) == pytest.approx((shift,) * 3, abs=1e-9)


def test_same_seed_same_interval_and_lists_arrays_and_tensors_alike():
    values = np.random.default_rng(3).random(30)
    interval = bootstrap_mean(values, seed=7)
    assert interval == bootstrap_mean(values.tolist(), seed=7)
    assert interval == bootstrap_mean(torch.tensor(values, requires_grad=True), seed=7)
    assert interval != bootstrap_mean(values, seed=8)


def test_one_value_has_no_interval_and_constant_values_have_none_of_width():
    single = bootstrap_mean([0.3])
    assert single.estimate == 0.3 and math.isnan(single.low) and math.isnan(single.high) and single.n == 1
    constant = bootstrap_mean([0.3] * 10)
    assert constant.low == constant.high == constant.estimate == pytest.approx(0.3)


def test_many_images_do_not_need_memory_for_their_square():
    values = np.random.default_rng(4).random(6000)
    interval = bootstrap_mean(values, resamples=100)
    assert interval.low < values.mean() < interval.high


def test_pairing_shows_a_difference_that_two_separate_intervals_hide():
    rng = np.random.default_rng(5)
    easy = rng.random(100)
    harder = easy - 0.02 + rng.normal(0, 0.01, size=100)
    assert bootstrap_mean(harder).high > bootstrap_mean(easy).low
    assert paired_difference(easy, harder).low > 0
    assert paired_difference(harder, easy).high < 0


def wilson_by_hand(k, n, z=1.959963984540054):
    p = k / n
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return middle - half, middle + half


@pytest.mark.parametrize(("k", "n"), [(0, 100), (1, 100), (37, 100), (100, 100), (3, 7), (1, 1)])
def test_wilson_is_its_formula(k, n):
    interval = wilson(k, n)
    assert (interval.low, interval.high) == pytest.approx(wilson_by_hand(k, n), abs=1e-9)
    assert (interval.estimate, interval.n, interval.level) == (k / n, n, 0.95)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
@settings(max_examples=60, deadline=None)
def test_wilson_lies_around_the_rate_and_within_0_and_1(rate, level):
    interval = wilson(*rate, level)
    slack = 1e-12
    assert 0 <= interval.low <= interval.estimate + slack and interval.estimate - slack <= interval.high <= 1
    mirrored = wilson(rate[1] - rate[0], rate[1], level)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - interval.high, 1 - interval.low), abs=1e-9)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bootstrap_mean([]), r"\[0\]"),
        (lambda: bootstrap_mean([[0.1, 0.2]]), r"\[1, 2\]"),
        (lambda: bootstrap_mean([0.1, math.nan]), "NaN"),
        (lambda: bootstrap_mean([0.1, math.inf]), "infinity"),
        (lambda: bootstrap_mean([0.1, 0.2], level=95), "level is 95"),
        (lambda: paired_difference([0.1, 0.2], [0.1]), "2 and 1"),
        (lambda: wilson(1, 0), "0 trials"),
        (lambda: wilson(-1, 5), "-1 successes"),
        (lambda: wilson(6, 5), "6 successes"),
        (lambda: wilson(1, 5, level=1), "level is 1"),
    ],
)
def test_what_has_no_interval_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
