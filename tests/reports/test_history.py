"""What happened in training, at both sides of every threshold."""

from __future__ import annotations

import math

import pytest

from reports.history import Record


def record(**changes) -> Record:
    plain = {"attack": "decoder", "train": [1.0] * 100, "gradient": [1.0] * 100, "validation": [], "best_step": None,
             "cut": False}  # fmt: skip
    return Record.read({**plain, **changes})


def test_a_record_is_read_as_it_was_written_and_what_was_not_finite_is_nan():
    read = record(train=[1, None], gradient=[None, 2], validation=[["3", 4], [5, None]], best_step=5, cut=1)
    assert math.isnan(read.train[1]) and read.train[0] == 1.0 and math.isnan(read.gradient[0])
    assert read.validation[0] == (3, 4.0) and math.isnan(read.validation[1][1])
    assert read.cut is True and record().cut is False and read.attack == "decoder" and read.best_step == 5


@pytest.mark.parametrize(
    "gradient, bad",
    [
        ([0.0] * 10 + [1.0] * 90, False), ([0.0] * 11 + [1.0] * 89, True), ([1e-9] * 100, False),
        ([0.99e-9, -0.99e-9] * 50, True), ([-1.0] * 100, False), ([1.0] * 99 + [None], True), ([], False),
        ([1.0, math.inf], True),
    ],
)  # fmt: skip
def test_gradients_are_bad_if_more_than_a_tenth_is_0_or_any_is_not_finite(gradient, bad):
    assert record(gradient=gradient).bad_gradients() == bad


def falling(before: float, last: float, first: float = 1.0, steps: int = 100) -> list[float]:
    """Losses whose first tenth has one mean, whose last another, and the tenth before it a third."""
    tenth = steps // 10
    return [first] * tenth + [9.0] * (steps - 3 * tenth) + [before] * tenth + [last] * tenth


@pytest.mark.parametrize(
    "train, still",
    [
        (falling(0.0625, 0.0), True), (falling(0.05, 0.0, steps=10), False), (falling(0.04, 0.0), False),
        (falling(0.5, 0.5), False), (falling(0.52, 0.5), False), (falling(0.5, 0.5, 0.5), False),
        (falling(0.4, 0.5, 0.3), False), (falling(0.6, 0.5, 0.5), False),
        (falling(1.5, 1.4, 1.0), False), (falling(0.5, 0.0)[:9], False), (falling(1.0, 0.0, 2.0, steps=10), True),
        ([2.0] * 10 + [1.0] * 80 + [0.4, 0.6] * 5, True), ([], False),
    ],
)  # fmt: skip
def test_the_loss_still_falls_if_the_last_tenth_brought_more_than_a_twentieth(train, still):
    assert record(train=train).still_falling() == still


@pytest.mark.parametrize("best, still", [(90, True), (89, False), (100, True), (0, False), (None, False)])
def test_a_held_out_loss_that_was_best_before_the_last_tenth_has_converged(best, still):
    validated = record(train=falling(0.5, 0.0), validation=[(0, 1.0), (100, 0.5)], best_step=best)
    assert validated.still_falling() == still
    assert record(train=falling(0.5, 0.0), best_step=best).still_falling(), "without held-out losses it says nothing"


@pytest.mark.parametrize(
    "best_step, last, far",
    [(49, 1.06, True), (50, 1.06, False), (49, 1.05, False), (49, 1.04, False), (0, 2.0, True), (None, 2.0, False)],
)
def test_the_best_is_far_from_the_last_if_it_came_in_the_first_half(best_step, last, far):
    validation = [(0, 2.0), (49, 1.0), (100, last)]
    assert record(validation=validation, best_step=best_step).best_far_from_last() == far
    assert not record(best_step=best_step).best_far_from_last()


@pytest.mark.parametrize("lowest, wide", [(1.5, False), (1.51, True)])
def test_the_gap_is_wide_from_half_again_the_training_loss_on(lowest, wide):
    validated = {"validation": [(50, lowest), (100, 2.0)], "best_step": 50}
    assert record(train=[9.0] * 40 + [1.0] * 10 + [0.1] * 50, **validated).gap() == wide, "of the tenth before the best"
    assert record(train=[1.0] * 50 + [0.1] * 50, validation=[(0, lowest)], best_step=3).gap() == wide
    assert record(train=[3.0, 1.0, 9.0], validation=[(2, lowest)], best_step=2).gap() == wide, "of one step at least"
    assert not record(train=[0.1] * 100, best_step=50).gap() and not record(validation=[(0, 9.0)], best_step=0).gap()
    assert not record(train=[0.1] * 100, validation=[(0, 9.0)]).gap()


@pytest.mark.parametrize("train, best_step, mean", [([9.0] * 40 + [11.0] + [1.0] * 59, 50, 2.0),
                                                    ([4.0, 1.0, 1.0] + [9.0] * 97, 3, 2.0)])  # fmt: skip
def test_the_training_loss_is_that_of_the_whole_tenth_before_the_best(train, best_step, mean):
    for lowest, wide in ((1.5 * mean - 0.01, False), (1.5 * mean + 0.01, True)):
        assert record(train=train, validation=[(best_step, lowest)], best_step=best_step).gap() == wide
