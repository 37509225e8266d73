"""The words for what was rebuilt, at both sides of every threshold."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from privacy_metrics.leakage import SSIM_BAR
from privacy_metrics.statistics import Interval
from reports import level
from reports.level import copied, gravest, measured_level, recognised

ORDER = ("beats the bound", "leaks", "leaks in part", "inconclusive", "no leak found", "hers anyway")


def below(number: float) -> float:
    return math.nextafter(number, -1)


def above(number: float) -> float:
    return math.nextafter(number, 2)


def one(number: float) -> torch.Tensor:
    return torch.tensor([[number]], dtype=torch.float64)


def test_a_picture_is_recognised_from_an_ssim_of_a_half_on():
    assert recognised(one(0.5), one(0)) and not recognised(one(below(0.5)), one(-1))


def test_a_picture_is_recognised_thanks_to_the_tokens_from_a_tenth_on():
    assert 0.6 - 0.5 < 0.1 <= 0.6 - below(0.5), "the next number on the other side of the threshold"
    assert recognised(one(0.6), one(below(0.5))) and not recognised(one(0.6), one(0.5))


def test_a_difference_of_the_threshold_itself_counts():
    bar = replace(SSIM_BAR, owed=0.125)  # which binary numbers hit exactly
    assert recognised(one(0.625), one(0.5), bar) and not recognised(one(0.625), one(above(0.5)), bar)


def test_a_near_copy_has_an_ssim_of_four_fifths_and_owes_a_quarter_to_the_tokens():
    assert copied(one(0.8), one(0)) and not copied(one(below(0.8)), one(0))
    assert copied(one(0.875), one(0.625)) and not copied(one(0.875), one(above(0.625)))
    assert not copied(one(0.3), one(0)) and not copied(one(0.9), one(0.9))


def planted(monkeypatch, low: float, high: float, hits: bool) -> str:
    monkeypatch.setattr(level, "wilson_repeats", lambda table: Interval(0.5, low, high, 100))
    return measured_level(torch.full((1, 100), 0.6 if hits else 0.3), torch.full((1, 100), 0.0))


@pytest.mark.parametrize(
    "low, high, hits, expected",
    [
        (0.5, 0.9, True, "leaks in part"),
        (above(0.5), 0.9, True, "leaks"),
        (0.05, 0.9, True, "inconclusive"),
        (above(0.05), 0.9, True, "leaks in part"),
        (0.0, 0.05, False, "inconclusive"),
        (0.0, below(0.05), False, "no leak found"),
        (0.0, below(0.05), True, "inconclusive"),
    ],
)
def test_every_threshold_must_be_crossed_and_not_only_reached(monkeypatch, low, high, hits, expected):
    assert planted(monkeypatch, low, high, hits) == expected


def by_counting(hits: int, n: int) -> str:
    ends = binomtest(hits, n).proportion_ci(method="wilson")
    if ends.low > 1 / 2:
        return "leaks"
    if ends.low > 1 / 20:
        return "leaks in part"
    return "no leak found" if hits == 0 and ends.high < 1 / 20 else "inconclusive"


@pytest.mark.parametrize("n", [1, 10, 72, 73, 100, 150])
def test_the_word_for_every_number_of_recognised_pictures(n):
    words = []
    for hits in range(n + 1):
        worst = torch.where(torch.arange(n) < hits, 0.6, 0.3)[None].double()
        words.append(measured_level(worst, torch.zeros(1, n).double()))
        assert words[-1] == by_counting(hits, n)
    assert words == sorted(words, key=ORDER.index, reverse=True), "more recognised pictures are never less grave"


def test_one_near_copy_is_a_leak_in_part_and_twelve_of_them_no_more():
    worst = torch.full((1, 100), 0.3)
    worst[0, :1] = 0.85
    assert measured_level(worst, torch.zeros(1, 100)) == "leaks in part"
    assert measured_level(worst, torch.full((1, 100), 0.8)) == "no leak found"
    worst[0, :12] = 0.85
    assert measured_level(worst, torch.zeros(1, 100)) == "leaks in part"


def test_a_near_copy_in_one_of_several_repeats_counts():
    worst = torch.full((3, 100), 0.3)
    worst[2, 99] = 0.85
    assert measured_level(worst, torch.zeros(3, 100)) == "leaks in part"
    worst[2, 99] = 0.6
    assert measured_level(worst, torch.zeros(3, 100)) == "inconclusive"


SCORES = st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=120)


@settings(max_examples=60)
@given(SCORES, st.data())
def test_rebuilding_one_picture_better_never_makes_it_less_grave(scores, data):
    worst, blind = (torch.tensor([part], dtype=torch.float64) for part in zip(*scores, strict=True))
    better = worst.clone()
    image = data.draw(st.integers(0, len(scores) - 1))
    better[0, image] = data.draw(st.floats(float(worst[0, image]), 1))
    assert ORDER.index(measured_level(better, blind)) <= ORDER.index(measured_level(worst, blind))


def test_the_gravest_word_wins_in_any_order():
    for place, grave in enumerate(ORDER[:-1]):
        for other in ORDER[place:]:
            assert [gravest(pair) for pair in permutations((grave, other))] == [grave, grave]
    assert level.FEWEST_IMAGES == 100
