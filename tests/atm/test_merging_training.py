"""Merging that learns: it goes where it is asked to, goes on where it was put down, and changes nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from atm.calibration import policy_saving, shifted
from atm.data import ImageSet
from atm.merging_training import LEARNS, MergingTraining, Recipe
from atm.policy import MergePolicy
from atm.victims import Victim
from atm.weight_files import state_digest
from tests.atm.models import tiny_encoder
from tests.systems import VICTIMS, pictures
from tests.systems import victim as small

RECIPE = Recipe(0.7, steps=6, batch=8)


def image_set(count: int = 32) -> ImageSet:
    pixels = (pictures(count, 7) * 255).round().byte()
    return ImageSet("drawn", pixels, torch.zeros(count, dtype=torch.long), ("one",))


def training(encoder=None, recipe=RECIPE, **options) -> MergingTraining:
    encoder = encoder or tiny_encoder()
    return MergingTraining(Victim("tiny", encoder, (), "digest"), image_set(), recipe, **options)


def spent(encoder, policy) -> float:
    images = image_set().images
    dense = MergePolicy.uniform(1.0, encoder.depth, exit_layer=policy.exit_layer)
    return float(encoder(images, policy).flops.sum() / encoder(images, dense).flops.sum())


@pytest.mark.parametrize("learn", LEARNS)
@pytest.mark.parametrize("kind", VICTIMS)
@pytest.mark.parametrize("exit_layer", [None, 1])
def test_every_victim_gets_a_policy_that_spends_what_was_asked_for(learn, kind, exit_layer):
    encoder = small(kind)
    before = state_digest(encoder)
    learning = training(encoder, replace(RECIPE, spend=0.8, learn=learn, privacy=0.5, steps=3), exit_layer=exit_layer)
    start = learning.gates.policy()
    told = list(learning.steps())
    assert [each["step"] for each in told] == [1, 2, 3]
    assert all(torch.tensor(list(each.values())).isfinite().all() for each in told) and told[0]["leak"] > 0
    policy = learning.policy("mine")
    assert policy.exit_layer == exit_layer and policy.name == "mine"
    assert spent(encoder, policy) == pytest.approx(0.8, abs=0.02)
    assert (policy.maps is None) == (learn == "thresholds") and policy.match == ("learned" if policy.maps else "value")
    used = slice(0, policy.device_layers)
    assert learning.gates.policy().thresholds[used] != start.thresholds[used]
    assert state_digest(encoder) == before, "the victim stays as it is"


def test_it_goes_on_where_it_was_put_down():
    through, before = training(), training()
    lost = [each["divergence"] for each in through.steps()]
    first = [told["divergence"] for _, told in zip(range(3), before.steps(), strict=False)]
    after = training()
    after.take_up(before.state())
    assert after.step == 3
    assert first + [each["divergence"] for each in after.steps()] == lost
    assert after.gates.policy() == through.gates.policy()
    assert after.policy("a") != training(seed=1).policy("a")


def test_steps_that_are_done_ask_the_victim_nothing(monkeypatch):
    learning = training()
    list(learning.steps())
    monkeypatch.setattr(learning.encoder, "forward", None)
    assert list(learning.steps()) == []


def test_learning_keeps_the_answers_better_than_its_start():
    """A map that compares noise is planted; answers are kept better by what comes of it at the same FLOPs."""
    recipe = replace(RECIPE, spend=0.6, steps=60, map_rate=1e-2)
    learning = training(recipe=recipe)
    with torch.no_grad():
        for weight in learning.gates.weights:
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)))
    encoder, images = learning.encoder, learning.first

    def divergence(policy: MergePolicy) -> float:
        policy = shifted(encoder, images, policy, 0.6)
        answers, none = [], MergePolicy.uniform(1.0, 3)
        for each in (policy, none):
            answers.append(encoder.finish(encoder(images, each).tokens, each).log_softmax(-1))
        return float((answers[1].exp() * (answers[1] - answers[0])).sum(-1).mean())

    planted = divergence(learning.gates.policy())
    list(learning.steps())
    assert divergence(learning.gates.policy()) < planted


def test_privacy_has_a_price_and_a_gain():
    found = {}
    for privacy in (0.0, 30.0):
        learning = training(recipe=replace(RECIPE, privacy=privacy or 1e-9, steps=40, map_rate=1e-2, batch=16))
        told = list(learning.steps())
        found[privacy] = sum(each["leak"] for each in told[-10:]), sum(each["divergence"] for each in told[-10:])
    assert found[30.0][0] < found[0.0][0] and found[30.0][1] > found[0.0][1]


@pytest.mark.parametrize("spend", [0.9, 0.8, 0.7])
@pytest.mark.parametrize("exit_layer", [None, 2])
def test_shifted_thresholds_spend_what_is_asked_for(spend, exit_layer):
    encoder = tiny_encoder()
    policy = replace(policy_saving(encoder, image_set().images, 0.2), exit_layer=exit_layer)
    found = shifted(encoder, image_set().images, policy, spend)
    assert spent(encoder, found) == pytest.approx(spend, abs=0.02)
    steps = {round(a - b, 6) for a, b in zip(found.thresholds, policy.thresholds, strict=True) if 0 < a < 1}
    assert len(steps) == 1, "all thresholds move together"


def test_a_layer_that_merges_nothing_stays_so():
    encoder = tiny_encoder()
    found = shifted(encoder, image_set().images, MergePolicy((1.0, 0.9, 0.9)), 0.8)
    assert found.thresholds[0] == 1.0 and spent(encoder, found) == pytest.approx(0.8, abs=0.02)
