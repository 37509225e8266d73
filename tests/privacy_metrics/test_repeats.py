"""Intervals that cover repeated runs: coverage on systems whose truth is known, and limits that other methods give."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_rel

from privacy_metrics.statistics import (
    bootstrap_mean,
    bootstrap_repeats,
    paired_effect,
    percentile_95,
    wilson,
    wilson_repeats,
)


def table(random, repeats, images, between_repeats, between_images=1.0, noise=0.3):
    return (
        between_images * random.normal(size=(1, images))
        + between_repeats * random.normal(size=(repeats, 1))
        + noise * random.normal(size=(repeats, images))
    )


def test_repeats_widen_the_interval_until_it_covers_the_truth():
    """Where repeats differ, an interval over images alone misses the true mean; the crossed one does not."""
    random = np.random.default_rng(0)
    crossed = images_only = 0
    for _ in range(150):
        data = table(random, 6, 80, between_repeats=0.5)
        interval = bootstrap_repeats(data, resamples=300)
        crossed += interval.low <= 0 <= interval.high
        narrow = bootstrap_mean(data.mean(0), resamples=300)
        images_only += narrow.low <= 0 <= narrow.high
    assert crossed >= 0.85 * 150 > 0.75 * 150 > images_only


def test_one_repeat_is_the_ordinary_bootstrap():
    data = np.random.default_rng(1).normal(size=(1, 200))
    ours, theirs = bootstrap_repeats(data), bootstrap_mean(data[0])
    assert ours.estimate == pytest.approx(theirs.estimate)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_the_percentile_and_the_maximum_have_intervals_too():
    random = np.random.default_rng(2)
    hits = 0
    for _ in range(100):
        interval = bootstrap_repeats(random.uniform(size=(1, 300)), percentile_95, resamples=300)
        hits += interval.low <= 0.95 <= interval.high
    assert hits >= 88
    values = random.uniform(size=(2, 50))
    top = bootstrap_repeats(values, lambda v: v.max(-1))
    assert top.estimate == pytest.approx(values.max(1).mean()) and top.high <= values.max()


def test_a_rate_of_repeats_is_wilson_of_the_independent_images():
    random = np.random.default_rng(3)
    one = random.uniform(size=60) < 0.3
    assert wilson_repeats(one[None]) == wilson(int(one.sum()), 60)
    same = wilson_repeats(np.stack([one] * 5))  # five identical repeats are still sixty images
    assert (same.low, same.high) == pytest.approx((wilson(int(one.sum()), 60).low, wilson(int(one.sum()), 60).high))
    none = wilson_repeats(np.zeros((4, 100), dtype=bool))
    assert (none.low, none.high) == pytest.approx((0.0, wilson(0, 100).high))
    apart = wilson_repeats(np.stack([np.ones(100, bool), np.zeros(100, bool)]))
    assert apart.low < 0.15 and apart.high > 0.85, "repeats that contradict each other say nothing"


def test_the_effect_size_is_that_of_the_paired_t_test():
    random = np.random.default_rng(4)
    a, b = random.normal(size=40) + 0.4, random.normal(size=40)
    effect = paired_effect(a, b)
    assert effect.size * math.sqrt(40) == pytest.approx(ttest_rel(a, b).statistic)
    assert paired_effect([0.5, 0.6], [0.5, 0.6]).size == 0
    assert paired_effect([1.5, 1.75], [0.5, 0.75]).size == math.inf


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((0, 3)), np.full((2, 2), np.nan)])
def test_bad_tables_are_refused(bad):
    with pytest.raises(ValueError, match="values"):
        bootstrap_repeats(bad)
    with pytest.raises(ValueError, match="values"):
        wilson_repeats(bad)
