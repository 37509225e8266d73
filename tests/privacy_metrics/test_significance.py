"""P-values against definitions and other implementations, and the trials that settle a rate against trying."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_1samp, ttest_rel

from privacy_metrics.significance import SURE, holm, paired_p_value, rate_p_value, trials_to_settle

P_VALUES = st.lists(st.floats(0, 1), max_size=7)


def rejected(p_values: list[float], alpha: float) -> list[bool]:
    """Holm's procedure as he wrote it: the smallest first, each against alpha over those that are left."""
    found, left = [False] * len(p_values), list(range(len(p_values)))
    while left:
        smallest = min(left, key=lambda i: p_values[i])
        if p_values[smallest] * len(left) > alpha:
            break
        found[smallest] = True
        left.remove(smallest)
    return found


@settings(max_examples=200)
@given(P_VALUES, st.floats(0, 0.999))
@example([0.01, 0.04, 0.03, 0.005], 0.03)
@example([0.02, 0.02], 0.04)
@example([0.6, 0.9], 0.999)
def test_what_holm_calls_sure_is_what_his_procedure_rejects(p_values, alpha):
    assert [p <= alpha for p in holm(p_values)] == rejected(p_values, alpha)


@given(P_VALUES)
def test_a_corrected_p_value_is_a_p_value_and_never_smaller(p_values):
    corrected = holm(p_values)
    assert len(corrected) == len(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, corrected, strict=True))
    assert holm(p_values[:1]) == p_values[:1]


def test_what_is_sure_is_a_twentieth():
    assert SURE == 0.05


@pytest.mark.parametrize("n, chance", [(1, 0.5), (7, 0.3), (20, 0.05), (20, 0.95), (5, 0.0), (5, 1.0)])
def test_the_p_value_of_a_rate_adds_up_the_binomial_distribution(n, chance):
    for successes in range(n + 1):
        tail = sum(math.comb(n, k) * chance**k * (1 - chance) ** (n - k) for k in range(successes, n + 1))
        assert rate_p_value(successes, n, chance) == pytest.approx(tail, abs=1e-12)


@pytest.mark.parametrize("bar", [0.05, 0.25, 0.5])
@pytest.mark.parametrize("rate", [0.0, 0.02, 0.1, 0.3, 0.5, 0.75, 1.0])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_so_many_trials_settle_a_rate_and_fewer_do_not(rate, bar, level):
    """Tried with every number of trials in which the rate is a whole number of successes."""
    if rate == bar:
        assert trials_to_settle(rate, bar, level) is None
        return
    needed = trials_to_settle(rate, bar, level)
    step = 50 if rate in (0.02, 0.1, 0.3) else 4 if rate in (0.5, 0.75) else 1
    for n in range(step, 2 * needed + 2 * step, step):
        ends = binomtest(round(rate * n), n).proportion_ci(level, "wilson")
        assert (ends.high < bar or ends.low > bar) == (n >= needed)


def test_the_level_is_95_percent_unless_another_is_asked_for():
    assert trials_to_settle(0.0, 0.05) == trials_to_settle(0.0, 0.05, 0.95) == 73


def test_a_rate_at_the_very_edge_is_not_settled():
    """At this level z is 1, and four trials of none reach just up to a fifth."""
    from scipy.stats import norm

    z_is_1 = 2 * float(norm.cdf(1)) - 1
    assert float(norm.ppf((1 + z_is_1) / 2)) == pytest.approx(1)
    assert trials_to_settle(0.0, 0.2, z_is_1 - 1e-9) == 4 and trials_to_settle(0.0, 0.2, z_is_1 + 1e-9) == 5


@pytest.mark.parametrize("rate, bar", [(-0.01, 0.5), (1.01, 0.5), (0.5, 0.0), (0.5, 1.0), (0.5, -0.1), (0.5, 1.1)])
def test_impossible_rates_and_bars_are_refused(rate, bar):
    with pytest.raises(ValueError, match="bar"):
        trials_to_settle(rate, bar)
    with pytest.raises(ValueError, match="level"):
        trials_to_settle(0.1, 0.5, level=1.0)


def test_the_paired_p_value_is_students():
    random = np.random.default_rng(0)
    for shift in (-0.3, 0.0, 0.2, 0.5):
        a, b = random.normal(size=25) + shift, random.normal(size=25)
        assert paired_p_value(a, b) == pytest.approx(ttest_rel(a, b, alternative="greater").pvalue)
        assert paired_p_value(a, b, two_sided=True) == pytest.approx(ttest_rel(a, b).pvalue)
        margin = ttest_1samp(a - b, 0.1, alternative="greater").pvalue
        assert paired_p_value(a, b, by=0.1) == pytest.approx(margin)
        assert paired_p_value(a, b, by=0.1, two_sided=True) == pytest.approx(ttest_1samp(a - b, 0.1).pvalue)


@pytest.mark.parametrize("shift, by, one_sided, two_sided", [(0.25, 0, 0, 0), (-0.25, 0, 1, 0), (0, 0, 1, 1),
                                                             (0.25, 0.25, 1, 1), (0.25, 0.5, 1, 0)])  # fmt: skip
@pytest.mark.parametrize("size", [1, 1024])
def test_equal_differences_leave_no_doubt(shift, by, one_sided, two_sided, size):
    b = size * np.array([0.5, 1.5, 2.25])
    a = b + size * shift
    assert paired_p_value(a, b, by=size * by) == one_sided
    assert paired_p_value(a, b, by=size * by, two_sided=True) == two_sided


def test_a_difference_of_rounding_is_none():
    tiny = np.array([1e-13, 1.5e-13])
    assert paired_p_value(tiny, np.zeros(2)) == paired_p_value(tiny, np.zeros(2), two_sided=True) == 1
    large = np.array([1e6, 1e6 + 1e-7])
    assert paired_p_value(large, np.zeros(2)) == 0, "equal, as exactly as such numbers can be"
    assert 0 < paired_p_value(np.array([1e-6, 3e-6]), np.zeros(2)) < 1
    small = np.array([0.0, 0.1e-3]) + 0.25e-3
    assert paired_p_value(small, np.zeros(2)) == pytest.approx(ttest_1samp(small, 0, alternative="greater").pvalue)


@pytest.mark.parametrize("a, b", [([1.0], [0.0]), ([1.0, 2.0], [1.0]), ([1.0, 2.0], [1.0, 2.0, 3.0])])
def test_unpaired_and_single_values_are_refused(a, b):
    with pytest.raises(ValueError, match=f"{len(a)} and {len(b)}"):
        paired_p_value(a, b)
    assert 0 < paired_p_value([1.0, 2.0], [0.0, 0.5]) < 0.5
