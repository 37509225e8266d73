"""Variations are parts of pictures to train on, of no others, and as many as there is time to learn from."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atm import channels
from atm.knowledge import Knowledge
from atm.link import Link
from atm.policy import MergePolicy
from atm.rows import Held
from atm.threat import PRESETS
from attacks import varied
from attacks.alignment import Alignment
from attacks.base import held_out
from attacks.budget import Budget, Plan
from attacks.decoder import Decoder
from attacks.ridge import Ridge
from attacks.session import Campaign, Session
from attacks.training import Schedule
from attacks.varied import AREA, ASPECT, MOST, OFTEN, Variations, Varied
from tests.atm.models import tiny_encoder
from tests.attacks import planted

SERVER, SHUFFLED = PRESETS["server"], PRESETS["server-shuffled"]
LONG = Schedule(steps=10**6, batch=16)


def link(channel: str = "noiseless") -> Link:
    return Link(tiny_encoder(), MergePolicy.uniform(0.8, 3), channel=channels.parse(channel))


def ramps(count: int, side: int = 32) -> torch.Tensor:
    """Pictures whose first channel says how far right a pixel lies, the second how far down, the third which it is."""
    at = (torch.arange(side) + 0.5) / side
    planes = at.expand(side, side), at[:, None].expand(side, side)
    return torch.stack([torch.stack([*planes, torch.full((side, side), n / count)]) for n in range(count)])


@settings(max_examples=20, deadline=None)
@given(count=st.integers(1, 9), times=st.integers(1, 4), seed=st.integers(0, 99))
def test_a_variation_is_a_part_of_its_picture_enlarged_and_half_of_them_are_mirrored(count, times, seed):
    torch.manual_seed(seed)
    chosen = torch.randperm(10)[:count]
    found = Variations(Held(ramps(10)), chosen, times)
    rows = torch.randperm(len(found))
    images = found[rows]
    assert len(found) == count * times and images.shape[1:] == (3, 32, 32)
    assert torch.allclose(images[:, 2], (chosen[rows % count] / 10)[:, None, None].expand_as(images[:, 2]), atol=1e-5)
    # Along a line a part runs evenly through the picture, so what lies between its middle pixels says how wide it is.
    wide = (images[:, 0, 16, 20] - images[:, 0, 16, 12]) * 4
    high = (images[:, 1, 20, 16] - images[:, 1, 12, 16]) * 4
    area, aspect = wide.abs() * high, wide.abs() / high
    assert bool((high > 0).all()) and bool((area >= AREA[0] - 0.15).all()) and bool((area <= AREA[1] + 1e-3).all())
    assert bool((aspect >= ASPECT[0] - 0.2).all()) and bool((aspect <= ASPECT[1] + 0.3).all())
    assert bool((images[:, :2] >= 0).all()) and bool((images[:, :2] <= 1).all())


def test_about_half_are_mirrored_and_all_differ():
    torch.manual_seed(0)
    found = Variations(Held(ramps(1)), torch.tensor([0]), 200)
    images = found[:]
    mirrored = images[:, 0, 16, 20] < images[:, 0, 16, 12]
    assert 70 < int(mirrored.sum()) < 130
    assert len({tuple(each.flatten().tolist()) for each in images[:, :, ::8, ::8]}) == 200
    assert torch.equal(found[torch.tensor([7])], images[7:8]), "a row is the same whenever it is read"


def test_a_part_that_is_the_whole_is_the_picture():
    pictures = planted.pictures(3)
    found = Variations(Held(pictures), torch.arange(3), 1)
    found.views = torch.tensor([[1.0, 0, 0], [0, 1, 0]]).expand(3, 2, 3)
    assert torch.allclose(found[:], pictures, atol=1e-5)
    found.views = torch.tensor([[-1.0, 0, 0], [0, 1, 0]]).expand(3, 2, 3)
    assert torch.allclose(found[:], pictures.flip(-1), atol=1e-5)


def test_none_comes_of_a_held_out_picture_and_what_is_seen_of_it_is_what_is_sent():
    session = Session(link(), SERVER, ramps(40))
    made = session.fitted(Varied, times=3)
    rows = torch.arange(len(made.oracle.images))
    which = (made.oracle.images[rows][:, 2].mean((1, 2)) * 40).round().long()
    train, held = held_out(40)
    assert len(rows) == 3 * len(train) and set(which.tolist()) == set(train.tolist()) and not set(which) & set(held)
    some = torch.tensor([5, 70, 3])
    again = session.oracle().tap(made.oracle.images[some])
    assert torch.allclose(made.observe(some).tokens.values, again.tokens.values, atol=1e-5)
    assert torch.equal(made.observe(some).tokens.source, again.tokens.source)


def test_on_the_way_they_meet_noise_of_their_own():
    pictures, heard = Held(ramps(8)), []
    for channel in ("noiseless", "awgn:0"):
        session = Session(link(channel), SERVER, pictures)
        heard.append([of.oracle().observe().symbols for of in (session, session.over(pictures))])
    own, theirs = (noisy - quiet for quiet, noisy in zip(*heard, strict=True))
    assert bool((own.abs().mean(1) > 0.1).all()) and bool(((own - theirs).abs().mean(1) > 0.1).all())


def test_where_the_order_is_hidden_the_map_is_the_one_that_she_finds(monkeypatch):
    monkeypatch.setattr(Alignment, "QUICK", {"schedule": Schedule(steps=2, every=1)})
    session = Session(link(), SHUFFLED, planted.pictures(40), campaign=Campaign(quick=True))
    made = session.fitted(Varied, times=1)
    assert made.oracle.observe(torch.arange(2)).tokens.source is None
    seen, alone = made.observe(torch.tensor([30, 4])), made.oracle.observe(torch.tensor([30, 4]))
    assert torch.equal(seen.tokens.source, session.oracle().complete(alone).tokens.source)
    blind = Session(link(), dataclasses.replace(SHUFFLED, knows=SHUFFLED.knows & ~Knowledge.WEIGHTS), ramps(40))
    assert blind.fitted(Varied, times=1).observe(torch.tensor([0])).tokens.source is None


@pytest.mark.parametrize(
    ("steps", "wanted"), [(OFTEN * 36 // 16 - 1, 0), (2 * OFTEN * 36 // 16 + 1, 2), (10**6, MOST)], ids=str
)
def test_so_many_as_a_training_sees_often_enough(steps, wanted):
    oracle = Session(link(), SERVER, planted.pictures(40)).oracle()
    assert Varied.affordable(oracle, dataclasses.replace(LONG, steps=steps), lambda: None) == wanted


def test_no_more_than_there_is_time_and_room_for_and_the_choice_is_kept(monkeypatch):
    session, clock, plan = Session(link(), SERVER, planted.pictures(40)), [5.0, 1e-3], Plan()
    monkeypatch.setattr("attacks.budget._seconds", lambda trial: clock.pop())
    monkeypatch.setattr(varied, "FEW", 36)
    # Of a hundred seconds a quarter is for sending, where each set takes five.
    assert Varied.affordable(session.oracle(Budget(100.0, plan)), LONG, lambda: None) == 4
    assert Varied.affordable(session.oracle(Budget(0.0, Plan(dict(plan.steps)))), LONG, lambda: None) == 4
    assert not clock, "a replay asks for no time"
    monkeypatch.setattr(varied, "ROOM", 1)
    assert Varied.affordable(session.oracle(), LONG, lambda: None) == 0


def test_where_none_are_wanted_nothing_is_sent_to_see_how_long_it_takes():
    stranger = Session(link(), PRESETS["stranger"], planted.pictures(40))
    short = dataclasses.replace(LONG, steps=1)
    assert Varied.affordable(stranger.oracle(Budget(60.0)), short, lambda: None) == 0
    assert stranger.queries.sent == 40, "only her own pictures"


@pytest.mark.parametrize(
    "threat", [dataclasses.replace(PRESETS["black-box"], queries=50), PRESETS["eavesdropper"]], ids=lambda t: t.name
)
def test_whoever_has_counted_queries_sends_none(threat):
    session = Session(link(), threat, planted.pictures(40))
    counted = threat.queries is not None
    assert (Varied.affordable(session.oracle(), LONG, lambda: None) == 0) == counted


def test_what_a_training_might_cost_is_tried_as_it_trains():
    """Some losses cost more of held-out pictures, and a decoder that is trained further begins as it ended."""
    session, steps = Session(link(), SERVER, planted.pictures(24)), Schedule(batch=8, steps=4, every=2)
    decoder, training = session.fitted(Decoder, schedule=steps).copied(), []

    def loss(estimate: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        training.append(decoder.network.training)
        return decoder.signal.loss(estimate, truth)

    decoder.train(session.oracle(Budget(60.0)), loss, steps, "decoder")
    assert training[:2] == [True, True]


def test_a_decoder_keeps_no_pictures_that_it_starts_from(monkeypatch):
    session = Session(link(), SERVER, planted.pictures(24))
    session.fitted(Ridge)
    monkeypatch.setattr("atm.rows.IN_MEMORY", 0)
    monkeypatch.setattr("atm.rows._temporary", lambda: pytest.fail("more than tokens is kept"))
    session.fitted(Decoder, schedule=Schedule(batch=8, steps=4, every=2))


def test_a_decoder_learns_from_them(monkeypatch):
    """Of 20 pictures it learns these by heart; with variations it errs less on others."""
    victims, errors = planted.pictures(40, seed=1), []
    for most in (0, MOST):
        monkeypatch.setattr(varied, "MOST", most)
        session = Session(link(), SERVER, planted.pictures(24))
        decoder = session.fitted(Decoder, schedule=Schedule(rate=3e-3, batch=16, steps=120, every=40))
        assert len(decoder.history.train) > 50
        rebuilt = decoder.reconstruct(session.victims(victims)[1])
        errors.append(float(decoder.signal.loss(rebuilt, victims)))
    assert errors[1] < 0.97 * errors[0]
