"""The white-box attacks: each improves on where it starts, through real encoders, and is not misled by noise."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from atm import channels
from atm.link import Link
from atm.policy import MergePolicy
from atm.signals import ImageSignal
from atm.threat import ThreatModel
from attacks.budget import Budget
from attacks.decoder import Decoder
from attacks.deep_prior import DeepPrior
from attacks.generative import Generative
from attacks.generator import Generator
from attacks.optimization import Optimization
from attacks.session import Campaign, Session
from attacks.spread import Spread
from attacks.training import Schedule
from privacy_metrics import psnr
from tests.atm.models import tiny_encoder
from tests.attacks.planted import GRID, SIGNAL, pictures

SERVER = ThreatModel("server")
AUXILIARY, VICTIMS = pictures(150), pictures(6, seed=1)
STEPS = 60
DESCENTS = {
    "optimization": lambda: Optimization(steps=STEPS),
    "deep_prior": lambda: DeepPrior(steps=STEPS),
    "generative": lambda: Generative(steps=STEPS),
}


@pytest.fixture(scope="module", autouse=True)
def brief():
    """Where the descents start is trained for a moment, once for all of them on the same link."""
    patch = pytest.MonkeyPatch()
    for make in (Decoder, Generator):
        patch.setattr(make, "QUICK", {"schedule": Schedule(steps=30, batch=16, every=30)})
    patch.setattr("attacks.descent.CHOOSING", 4)
    yield
    patch.undo()


@cache
def first_layer(threshold: float, channel: str) -> Link:
    policy = MergePolicy.uniform(threshold, 3, exit_layer=1)
    return Link(tiny_encoder(embed_dim=192), policy, channel=channels.parse(channel))


@cache
def session(link: Link) -> Session:
    return Session(link, SERVER, AUXILIARY, campaign=Campaign(quick=True))


def rebuilt(make, link: Link):
    """The attack, the decoder's output where it starts, and its end."""
    torch.manual_seed(0)
    attack = make()
    attack.fit(session(link).oracle())
    _, seen, _ = session(link).victims(VICTIMS)
    return attack, attack.posterior.start.reconstruct(seen), attack.reconstruct(seen)


def error(images: torch.Tensor) -> float:
    return float((images - VICTIMS).square().mean())


@pytest.mark.parametrize("name", DESCENTS)
@pytest.mark.parametrize("threshold", [1.0, 0.6])
def test_a_descent_improves_on_its_start_through_a_real_encoder(name, threshold):
    _, start, end = rebuilt(DESCENTS[name], first_layer(threshold, "noiseless"))
    assert error(end) < 0.9 * error(start)


@pytest.mark.parametrize("name", DESCENTS)
def test_where_noise_drowns_everything_a_descent_stays_at_its_start(name):
    _, start, end = rebuilt(DESCENTS[name], first_layer(1.0, "awgn:-30"))
    floor = error(AUXILIARY[:135].mean(0).expand_as(VICTIMS))
    assert error(end) < 1.15 * error(start)
    assert error(end) > 0.9 * floor, "nothing arrived, so nothing can be known"


@pytest.mark.parametrize("name", DESCENTS)
def test_steps_are_counted_and_the_same_seed_gives_the_same_pictures(name):
    link = first_layer(1.0, "noiseless")
    first, _, once = rebuilt(DESCENTS[name], link)
    _, _, again = rebuilt(DESCENTS[name], link)
    assert torch.equal(once, again)
    assert len(first.history.train) == len(first.history.gradient) == STEPS and not first.history.cut


def test_the_generator_draws_pictures_like_those_it_was_trained_on():
    torch.manual_seed(0)
    generator = Generator(schedule=Schedule(steps=120, batch=16, every=40))
    generator.fit(session(first_layer(1.0, "noiseless")).oracle())
    latents = generator.latents(VICTIMS)
    drawn = generator.images(generator.features(latents)).detach()
    mean = AUXILIARY[:135].mean(0).expand_as(VICTIMS)
    assert float(psnr(drawn.clamp(0, 1), VICTIMS).mean()) > float(psnr(mean, VICTIMS).mean()) + 2
    assert 0.5 < float(latents.std()) < 2


def test_a_descent_whose_time_is_short_serves_every_batch_and_keeps_its_start_or_better():
    attack, mine = Optimization(steps=10, batch=2), session(first_layer(1.0, "noiseless"))
    attack.fit(mine.oracle())
    attack.steps, attack.budget = 10_000, Budget(3.0)
    _, seen, _ = mine.victims(VICTIMS)
    start = attack.posterior.start.reconstruct(seen)
    end = attack.reconstruct(seen)
    moved = (end - start).abs().amax((1, 2, 3))
    assert attack.history.cut and bool((moved > 0).all()), "the first batch must not take all the time"
    target = attack.likelihood.target(seen)
    assert bool((attack.likelihood(end, target) <= attack.likelihood(start, target)).all())


def test_errors_are_white_in_their_coordinates_and_come_back():
    torch.manual_seed(0)
    mix = torch.randn(192, 192) * 0.05
    errors = SIGNAL.from_units(torch.randn(300, 16, 192) @ mix)
    spread = Spread(errors, SIGNAL)
    white = spread.white(errors)
    torch.testing.assert_close(spread.error(white), errors, rtol=1e-3, atol=1e-3)
    covariance = white.flatten(0, 1).T @ white.flatten(0, 1) / white[..., 0].numel()
    torch.testing.assert_close(covariance, torch.eye(192), rtol=0, atol=0.15)


def test_errors_that_go_together_between_patches_are_white_in_their_coordinates():
    torch.manual_seed(0)
    patches = torch.randn(600, 16, 27)
    grid = patches.unflatten(1, GRID)
    smooth = (grid + 0.6 * grid.roll(1, 1) + 0.6 * grid.roll(1, 2)).flatten(1, 2)
    signal = ImageSignal((3, 12, 12), GRID)
    errors = signal.from_units(smooth)
    white = Spread(errors, signal).white(errors).unflatten(1, GRID)
    before, after = (float((x * x.roll(1, 2)).mean() / x.square().mean()) for x in (smooth.unflatten(1, GRID), white))
    assert before > 0.3 and abs(after) < 0.6 * before
