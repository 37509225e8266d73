"""What attacks record while they are trained is what happened."""

from __future__ import annotations

import json
import math

import torch

from attacks.base import History
from attacks.decoder import Decoder
from attacks.optimization import Optimization
from attacks.training import Schedule
from tests.attacks.planted import PlantedLink, pictures, rotation
from tests.attacks.test_attacks import SERVER


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
    decoder.fit(link, SERVER, pictures(100))
    assert len(decoder.history.train) == len(decoder.history.gradient) == 30
    assert [step for step, _ in decoder.history.validation] == [0, 10, 20, 30]
    assert min(decoder.history.gradient) > 0


def test_the_recorded_gradient_is_that_of_the_tokens_and_not_of_the_prior():
    """Behind a step that cuts the gradient, only the smoothness prior pulls, and that must not count as progress."""
    from atm.link import Link
    from atm.policy import MergePolicy
    from tests.atm.models import tiny_encoder

    class Cut:
        name = "cut"

        def protect(self, tokens, generator=None):
            return tokens.with_values(tokens.values.detach())

    norms = {}
    for name, defence in [("open", None), ("cut", Cut())]:
        link = Link(tiny_encoder(), MergePolicy.uniform(1.0, 3, exit_layer=1), defence=defence)
        attack = Optimization(steps=5)
        torch.manual_seed(0)
        attack.fit(link, SERVER, pictures(40))
        attack.reconstruct(SERVER.tap_images(link, pictures(4, seed=1)))
        norms[name] = attack.history.gradient
        assert len(norms[name]) == 5
    assert max(norms["cut"]) < 1e-6 < min(norms["open"])
