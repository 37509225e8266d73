"""The floor is never traded, hopping is damped, and what a trace comes to is counted right."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atm.errors import AtmError
from audit.live.controller import Candidate, Controller, Moment, controlled, replay

SNR = (0.0, 10.0, 20.0)
LARGE = Candidate("large", SNR, (0.4, 0.8, 0.9), 2000, 0.5)
SMALL = Candidate("small", SNR, (0.6, 0.7, 0.75), 500, 0.3)
LEAKY = Candidate("leaky", SNR, (0.9, 0.95, 0.99), 400, 0.9)
ALL = (LARGE, SMALL, LEAKY)
MOMENTS = st.lists(st.builds(Moment, st.floats(-20, 40), st.floats(0, 4000)), min_size=1, max_size=60)


@settings(max_examples=60)
@given(MOMENTS, st.floats(0.3, 1.0), st.floats(0, 0.3), st.integers(1, 6))
def test_the_floor_is_never_traded_and_room_only_where_nothing_fits(trace, floor, margin, patience):
    controller = Controller(ALL, floor, margin, patience)
    for past, now in zip([trace[0], *trace], trace, strict=False):
        chosen = controller.choose(past.snr_db, now.room)
        assert chosen.leakage <= floor
        if past.snr_db <= SNR[-1]:
            assert chosen.symbols <= max(now.room, min(each.symbols for each in controller.permitted))


def test_in_better_air_than_was_measured_what_leaks_least_is_sent():
    controller = Controller(ALL, 1.0, margin=0.02, patience=2)
    assert controller.within == [SMALL], "nothing is measured yet"
    assert controller.choose(20, 4000) is LEAKY and not controller.beyond
    for snr in (20.5, 30, math.inf):
        assert controller.choose(snr, 4000) is SMALL and controller.within == [SMALL] and controller.beyond
    assert [controller.choose(20, 4000) for _ in range(2)] == [SMALL, LEAKY], "and back as to any other policy"
    assert not controller.beyond


def test_a_policy_that_was_measured_in_better_air_is_permitted_there():
    further = replace(LARGE, snr_db=(0.0, 10.0, 30.0))
    controller = Controller((further, SMALL), 1.0)
    assert controller.choose(25, 4000) is further and controller.within == [further] and not controller.beyond
    assert controller.choose(31, 4000) is SMALL


def test_without_margin_and_patience_each_frame_gets_the_most_accurate_that_fits():
    assert Controller(ALL, 0.5, 0, 1).choose(20, 4000) is LARGE
    assert Controller(ALL, 0.5, 0, 1).choose(0, 4000) is SMALL
    assert Controller(ALL, 0.5, 0, 1).choose(20, 1000) is SMALL
    assert Controller(ALL, 1.0, 0, 1).choose(20, 4000) is LEAKY
    with pytest.raises(AtmError, match=r"no policy leaks at most 0\.2"):
        Controller(ALL, 0.2)


def test_a_better_policy_is_taken_only_after_it_has_been_better_for_some_frames():
    controller = Controller(ALL, 0.5, margin=0.02, patience=3)
    assert controller.choose(20, 1000) is SMALL
    assert [controller.choose(20, 4000) for _ in range(4)] == [SMALL, SMALL, LARGE, LARGE]
    assert controller.choose(20, 1000) is SMALL, "what no longer fits is left at once"


def test_noise_around_the_crossing_does_not_make_it_hop():
    crossing = [Moment(6.0 + (3 if number % 2 else -3), 4000) for number in range(200)]
    damped = replay(crossing, controlled(Controller(ALL, 0.5, 0.02, 5), crossing))
    hopping = replay(crossing, [max((LARGE, SMALL), key=lambda c: c.expected(moment.snr_db)) for moment in crossing])
    assert damped.switches <= 1 and hopping.switches == 199


def test_an_outcome_is_counted():
    trace = [Moment(0, 3000), Moment(10, 1000), Moment(20, 3000)]
    found = replay(trace, [SMALL, LARGE, LARGE])
    assert found.accuracy == pytest.approx((0.6 + 0 + 0.9) / 3) and found.symbols == 1500
    assert found.too_large == pytest.approx(1 / 3) and found.leakage == 0.5 and found.switches == 1


@pytest.mark.parametrize("snr", [(), (0.0, 0.0, 1.0), (2.0, 1.0, 0.0), (0.0, 1.0)])
def test_a_candidate_without_its_measurements_is_refused(snr):
    with pytest.raises(AtmError, match="needs an accuracy"):
        Candidate("bad", snr, (0.5, 0.6, 0.7), 1, 0.1)
