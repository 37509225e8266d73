"""Mutual information on cases whose value is known, and what padding costs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score

from privacy_metrics.traffic import mutual_information, padded, padding


def entropy(*shares):
    return -sum(p * math.log2(p) for p in shares if p)


def channel(n, flip, seed):
    generator = np.random.default_rng(seed)
    sent = generator.integers(0, 2, n)
    return sent, sent ^ (generator.random(n) < flip)


def test_a_copy_tells_its_whole_entropy():
    labels = torch.arange(4).repeat(500)
    found = mutual_information(labels * 7 + 3, labels)
    assert found.bits.estimate == pytest.approx(2, abs=0.01) and found.entropy == 2 and found.p_value < 0.01


@pytest.mark.parametrize("flip", [0.02, 0.1, 0.3])
def test_a_binary_symmetric_channel_has_its_capacity(flip):
    capacity = 1 - entropy(flip, 1 - flip)
    found = [mutual_information(*channel(2000, flip, seed), permutations=50) for seed in range(40)]
    estimates = np.array([f.bits.estimate for f in found])
    assert abs(estimates.mean() - capacity) < 4 * estimates.std() / math.sqrt(40)
    covered = sum(f.bits.low <= capacity <= f.bits.high for f in found)
    assert covered >= 34, "a 95% interval"


def test_independence_tells_nothing_however_many_values_there_are():
    estimates, p_values = [], []
    for seed in range(30):
        generator = np.random.default_rng(seed)
        lengths, labels = generator.integers(0, 60, 500), generator.integers(0, 10, 500)
        found = mutual_information(lengths, labels, permutations=100)
        estimates.append(found.bits.estimate)
        p_values.append(found.p_value)
        assert mutual_info_score(lengths, labels) / math.log(2) > 0.5, "uncorrected it would look like half a bit"
    assert np.mean(estimates) < 0.02
    assert np.mean(np.array(p_values) <= 0.05) < 0.2 and np.median(p_values) > 0.2


def test_without_correction_it_is_that_of_scikit_learn():
    a, b = channel(300, 0.2, 1)
    plain = mutual_info_score(a, b) / math.log(2)
    corrected = mutual_information(a, b, permutations=0).bits.estimate
    assert corrected == pytest.approx(plain + (2 + 2 - 4 - 1) / (2 * 300 * math.log(2)))


@pytest.mark.parametrize("n", [9, 10, 11, 13, 49, 103])
def test_where_all_pairs_tell_equally_much_the_interval_is_a_point(n):
    found = mutual_information(range(n), range(n), permutations=20).bits  # no rounding makes the variance negative
    assert found.high - found.low < 1e-6


def test_shapes_are_checked():
    for bad in (([1, 2], [1]), ([], []), ([[1, 2]], [[1, 2]]), ([1], [1])):
        with pytest.raises(ValueError, match="expected both"):
            mutual_information(*bad)
    with pytest.raises(ValueError, match="at least 1"):
        padded([1, 2], 0)


def test_padding_costs_symbols_and_saves_bits():
    labels = np.repeat([0, 1, 2, 3], 250)
    lengths = np.array([5, 7, 9, 16])[labels]  # the length tells the class exactly
    none, two, eight, all_ = padding(lengths, labels, [1, 2, 8, 16])
    assert none.extra == 0 and none.information.bits.estimate == pytest.approx(2, abs=0.02)
    assert two.extra == pytest.approx((6 + 8 + 10 + 16) / 37 - 1) and two.information.bits.estimate > 1.9
    # Padded to 8 the classes fall in two pairs, {5, 7} -> 8 and {9, 16} -> 16.
    assert eight.extra == pytest.approx(48 / 37 - 1)
    assert eight.information.bits.estimate == pytest.approx(1, abs=0.02)
    assert all_.extra == pytest.approx(64 / 37 - 1)
    assert all_.information.bits.estimate == 0 and all_.information.p_value == 1
    (capped,) = padding(lengths, labels, [12], longest=16)
    assert capped.extra == pytest.approx((12 + 12 + 12 + 16) / 37 - 1)
