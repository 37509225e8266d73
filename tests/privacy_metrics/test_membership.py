"""Whether a picture was sent, against other implementations, where it shows and where it does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from privacy_metrics.membership import auc, caught, halves, p_value, sent_and_unsent

scores = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=40)


@settings(max_examples=60, deadline=None)
@given(scores)
def test_the_area_is_that_of_mann_and_whitney(pairs):
    sent, unsent = np.array(pairs, dtype=float).T
    found = auc(sent, unsent)
    expected = mannwhitneyu(sent, unsent).statistic / len(pairs) ** 2
    assert found.estimate == pytest.approx(expected) and found.low <= found.estimate + 1e-9 and found.low >= 0
    assert found.estimate - 1e-9 <= found.high <= 1 and found.n == len(pairs)


def test_the_area_of_what_is_sure_has_an_interval_too():
    found = auc(np.ones(100), np.zeros(100))
    assert found.estimate == 1 and 0.9 < found.low < 0.97 and found.high == 1


def test_the_interval_of_the_area_covers_it():
    """A picture's two scores share half of their variance."""
    random, covered = np.random.default_rng(0), 0
    for _ in range(300):
        own = random.normal(size=80)
        found = auc(own + random.normal(size=80) + 1, own + random.normal(size=80))
        covered += found.low <= 0.6915 <= found.high  # of a normal difference of 1 with variance 4
    assert covered >= 270


@settings(max_examples=60, deadline=None)
@given(scores)
def test_the_rate_at_no_false_alarm_is_what_counting_gives(pairs):
    sent, unsent = np.array(pairs, dtype=float).T
    found = caught(sent, unsent)
    assert found.estimate == pytest.approx(float(np.mean([s > unsent.max() for s in sent])))
    assert 0 <= found.low <= found.estimate <= found.high <= 1


def test_one_false_alarm_in_a_hundred_is_allowed():
    unsent = np.arange(100.0)
    assert caught(np.full(100, 98.5), unsent).estimate == 1 and caught(np.full(100, 98.0), unsent).estimate == 0
    assert caught(np.full(99, 98.5), np.append(unsent[:98], 99.0)).estimate == 0, "of 99 pictures none is"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=30))
def test_halves_divide_every_class_evenly(labels):
    labels = torch.tensor(labels)
    half = halves(labels)
    assert abs(int(half.sum()) * 2 - len(labels)) <= 1
    for label in labels.unique():
        mine = half[labels == label]
        assert abs(int(mine.sum()) * 2 - len(mine)) <= 1


def test_each_picture_is_held_against_the_frames_that_are_its_own_and_those_that_are_not():
    similarity = torch.rand(9, 9, generator=torch.Generator().manual_seed(0))
    half = torch.tensor([True, False] * 4 + [True])
    sent, unsent = sent_and_unsent(similarity, half)
    for picture in range(9):
        mine = [float(similarity[frame, picture]) for frame in range(9) if half[frame] == half[picture]]
        others = [float(similarity[frame, picture]) for frame in range(9) if half[frame] != half[picture]]
        assert float(sent[picture]) == max(mine) and float(unsent[picture]) == max(others)


def found(strength: float, seed: int) -> float:
    torch.manual_seed(seed)
    similarity = torch.randn(100, 100) + strength * torch.eye(100)
    return p_value(*sent_and_unsent(similarity, halves(torch.arange(100) % 10)))


def test_what_is_planted_is_sure_and_nothing_is_no_more_often_than_it_may_be():
    assert max(found(6.0, seed) for seed in range(5)) < 1e-6
    assert sum(found(0.0, seed) < 0.05 for seed in range(200)) <= 20
    assert p_value(np.ones(9), np.ones(9)) == 1
