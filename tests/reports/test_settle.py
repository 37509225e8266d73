"""What would settle an open question, in numbers of pictures that do settle it."""

from __future__ import annotations

import re

import numpy as np
import pytest

from privacy_metrics.statistics import Interval, wilson
from reports.verdict import _what_would_settle, judge
from tests.reports.scores import run_of
from tests.reports.test_verdict import FLOOR, N, attacked


def settle(rate: Interval, recognised: int) -> str:
    return _what_would_settle(rate, recognised, "pictures")


def more(words: str) -> int:
    return int(re.search(r"(\d+) more pictures", words)[1])


def test_a_rate_above_the_tolerated_one_needs_more_of_the_same():
    words = settle(wilson(9, 100), 9)
    assert words == "at this rate 15 more pictures would show a leak of more than 5%"
    rate, n = 0.08, 100
    needed = n + more(settle(wilson(8, n), 8))
    assert wilson(round(rate * 250), 250).low > 0.05 and needed <= 250, "the first multiple of 25 that shows it"
    assert wilson(round(rate * 175), 175).low < 0.05 and needed > 175


def test_no_recognised_picture_needs_as_many_as_a_claim_needs():
    assert settle(wilson(0, 40), 0) == ("60 more pictures would settle it, if none of them is recognised either")


def test_one_picture_stays_unexplained_however_many_more_are_attacked():
    words = settle(wilson(1, 100), 1)
    assert "15 more pictures would bring it surely below 5%" in words and "the one that was recognised is" in words
    assert wilson(1, 100).high > 0.05
    words = settle(wilson(3, 100), 3)
    assert more(words) == 357 and "the 3 that were recognised are unexplained" in words
    words = settle(wilson(1, 300), 1)
    assert words.startswith("the rate is surely below 5%, but the one that was recognised is unexplained")
    assert settle(Interval(0.01, 0.0, 0.05, 100), 1).startswith("at this rate"), "at 5% it is not below"


def test_the_tolerated_rate_itself_is_never_settled():
    assert "no number of pictures" in settle(wilson(5, 100), 5)


@pytest.mark.parametrize("rate", [0.09, 0.01])
def test_there_is_always_one_more_to_ask_for(rate):
    """Repeats that contradict each other leave a question open that their number of pictures would settle."""
    assert more(settle(Interval(rate, 0.001, 0.2, 500), 5)) == 1


def test_a_verdict_says_so_first_and_counts_pictures_and_not_repeats():
    said = judge(attacked(3), "none").sentence
    assert "Nothing can be concluded: 3 of 120" in said and "the 3 that were recognised are unexplained" in said
    ridge = np.stack([np.where(np.arange(N) == image, 0.6, FLOOR + 0.05) for image in (5, 6)])
    repeats = run_of({"mean_image": {"ssim": [FLOOR, FLOOR]}, "ridge": {"ssim": ridge}})
    assert "the 2 that were recognised are unexplained" in judge(repeats, "none").sentence
