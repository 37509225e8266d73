"""What attacks record while they are trained is what happened."""

from __future__ import annotations

import json
import math

import torch

from atm.defence import Defence
from atm.link import Link
from atm.policy import MergePolicy
from attacks.decoder import Decoder
from attacks.history import History
from attacks.optimization import Optimization
from attacks.session import Session
from attacks.training import Schedule
from tests.atm.models import tiny_encoder
from tests.attacks.planted import SERVER, PlantedLink, pictures, rotation


class Cut(Defence):
    """Sends the tokens as they are and cuts them off from the graph."""

    name = "cut"

    def protect(self, tokens, generator=None):
        return tokens.with_values(tokens.values.detach())


class Rounded(Defence):
    """Rounds finely; its gradient is there, and 0."""

    name = "rounded"

    def protect(self, tokens, generator=None):
        return tokens.with_values((tokens.values * 1024).round() / 1024)


def test_the_best_step_is_the_one_with_the_lowest_held_out_loss():
    history = History()
    for step, held in enumerate([3.0, 1.0, 2.0]):
        history.step(1.0, 1.0)
        history.check(held)
        assert len(history.train) == step + 1
    assert history.best_step == 2 and history.validation == [(1, 3.0), (2, 1.0), (3, 2.0)]


def test_losses_of_several_descents_add_up():
    history = History()
    for losses in ([4.0, 2.0, 1.0], [10.0, 20.0, 30.0]):
        for number, loss in enumerate(losses):
            history.step(loss, 1.0, number)
    assert history.train == [14.0, 22.0, 31.0] and history.gradient == [2.0, 2.0, 2.0]


def test_what_is_not_finite_stays_readable():
    history = History()
    history.step(math.nan, math.inf)
    assert json.loads(json.dumps(history.as_dict(), allow_nan=False))["gradient"] == [None]


def test_attacks_that_are_trained_keep_their_history():
    link = PlantedLink(lambda p: p @ rotation())
    decoder = Decoder(schedule=Schedule(steps=30, every=10))
    decoder.fit(Session(link, SERVER, pictures(100)).oracle())
    assert len(decoder.history.train) == len(decoder.history.gradient) == 30
    assert [step for step, _ in decoder.history.validation] == [0, 10, 20, 30]
    assert min(decoder.history.gradient) > 0


def test_a_defence_that_cuts_the_gradient_stops_no_optimization():
    """What it sends says what it said, so gradients are taken as if it were not there."""
    link = Link(tiny_encoder(), MergePolicy.uniform(1.0, 3, exit_layer=1))
    seen, ends = Session(link, SERVER, pictures(4, seed=1)).oracle().observe(), {}
    for name, system in [("open", link), ("cut", link.with_defence(Cut())), ("rounded", link.with_defence(Rounded()))]:
        attack = Optimization(steps=5)
        torch.manual_seed(0)
        attack.fit(Session(system, SERVER, pictures(40)).oracle())
        ends[name] = attack.reconstruct(seen)
        assert min(attack.history.gradient) > 0
    assert torch.equal(ends["open"], ends["cut"])
