"""A kernel finds what no linear map can, is never behind what it starts from, and held-out pictures choose."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from atm.knowledge import Knowledge
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import PRESETS
from attacks import kernel
from attacks.budget import Budget, Plan
from attacks.context import Context
from attacks.kernel import WIDTH, Kernel, Likeness, View
from attacks.session import Session
from attacks.varied import Varied
from attacks.whole import Whole
from privacy_metrics import psnr
from tests.atm.models import tiny_encoder
from tests.attacks.planted import SERVER, PlantedLink, pictures, rebuild

BLIND = dataclasses.replace(SERVER, knows=SERVER.knows & ~(Knowledge.MERGE_MAP | Knowledge.WEIGHTS | Knowledge.SIZES))


def angles(patches: Tensor) -> Tensor:
    """Where on a circle the mean of each colour is, the same in every patch; linear maps make little of it."""
    turns = 6 * patches.unflatten(-1, (3, -1)).mean((1, 3))
    return torch.cat([turns.sin(), turns.cos()], -1)[:, None].expand(-1, patches.shape[1], -1)


def halves(patches: Tensor) -> Tensor:
    """The mean of the upper patches in each of them, and that of the lower ones."""
    return patches.unflatten(1, (2, 8)).mean(2).repeat_interleave(8, 1)


def coloured(count: int, seed: int) -> Tensor:
    """Pictures of one colour each, with a little structure."""
    colours = torch.rand(count, 3, 1, 1, generator=torch.Generator().manual_seed(seed))
    return (0.9 * colours + 0.1 * pictures(count, seed)).clamp(0, 1)


@pytest.fixture
def plain(monkeypatch):
    """Without variations."""
    monkeypatch.setattr(Varied, "sendable", staticmethod(lambda oracle, wanted: 0))


def test_it_finds_what_no_linear_map_can(plain):
    link, hers, victims = PlantedLink(angles), coloured(600, 0), coloured(40, 1)
    found = {
        make: float(psnr(rebuild(make(), link, hers, victims), victims).mean()) for make in (Context, Whole, Kernel)
    }
    assert found[Kernel] > max(found[Context], found[Whole]) + 3


def test_where_tokens_tell_nothing_it_is_what_it_starts_from():
    session = Session(PlantedLink(torch.zeros_like), SERVER, pictures(60))
    _, seen, _ = session.victims(pictures(5, seed=1))
    attack = session.fitted(Kernel)
    assert attack.likeness is None
    torch.testing.assert_close(attack.reconstruct(seen), session.fitted(Context).reconstruct(seen))


def test_it_is_kernel_ridge_regression():
    """As numpy solves it on all numbers that are received, with a kernel that is written out."""
    random = torch.Generator().manual_seed(0)
    x, new, y = (torch.randn(count, width, generator=random) for count, width in ((50, 12), (7, 12), (50, 4)))
    parts = {0: x, 1: new}
    view = View.measured(lambda seen: parts[0][seen], lambda rows: rows, 50)
    found = Likeness.solved(view(torch.arange(50)), y, 0.3)((new - view.mean) @ view.directions)
    a, b = x.numpy().astype(float), new.numpy().astype(float)
    deviation = np.sqrt(np.square(a - a.mean(0)).sum(1).mean())

    def gram(left, right):
        distance = np.linalg.norm(left[:, None] - right, axis=2) / deviation
        return np.exp(-(distance**2) / (2 * WIDTH**2))

    expected = gram(b, a) @ np.linalg.solve(gram(a, a) + 0.3 * np.eye(50), y.numpy())
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-3)


@pytest.mark.parametrize("moving", [False, True], ids=["secret order", "another order each time"])
def test_without_a_map_it_takes_the_view_that_held_out_pictures_choose(plain, moving):
    fixed = torch.randperm(16, generator=torch.Generator().manual_seed(1))

    def shuffled(patches: Tensor) -> Tensor:
        if not moving:
            return patches[:, fixed]
        order = torch.rand(patches.shape[:2], generator=torch.Generator().manual_seed(len(patches))).argsort(1)
        return patches.gather(1, order[..., None].expand_as(patches))

    session, victims = Session(PlantedLink(shuffled), BLIND, coloured(300, 0)), coloured(20, 1)
    attack = session.fitted(Kernel)
    assert attack.context is None and attack.likeness is not None
    assert (attack.view.of is kernel._pooled) == moving
    rebuilt, mean = attack.reconstruct(session.victims(victims)[1]), coloured(300, 0).mean(0).expand_as(victims)
    assert float(psnr(rebuilt, victims).mean()) > float(psnr(mean, victims).mean()) + 5


@pytest.mark.parametrize(
    "threat", [SERVER, PRESETS["stranger"], PRESETS["black-box"], PRESETS["server-shuffled"]], ids=lambda t: t.name
)
def test_pictures_with_different_numbers_of_tokens_are_taken(threat):
    link = Link(tiny_encoder(), MergePolicy.uniform(0.3, 3))
    session = Session(link, threat, pictures(40))
    rebuilt = session.fitted(Kernel, most=36).reconstruct(session.victims(pictures(6, seed=1))[1])
    assert rebuilt.shape == (6, 3, 32, 32) and bool(rebuilt.isfinite().all())


def test_variations_are_learned_from_where_they_help():
    """Of two tokens for sixteen patches 108 pictures tell little; with variations it errs less on others."""
    link, victims, errors = PlantedLink(halves), pictures(60, seed=1), []
    for most in (108, 108 * 9):
        session = Session(link, BLIND, pictures(120))
        attack = session.fitted(Kernel, most=most)
        assert attack.likeness is not None and len(attack.likeness.known) == most
        errors.append(float((attack.reconstruct(session.victims(victims)[1]) - victims).square().mean()))
    assert errors[1] < 0.97 * errors[0]


def test_as_many_variations_as_there_is_time_to_solve_and_the_choice_is_kept(monkeypatch):
    session, clock, plan = Session(PlantedLink(angles), SERVER, coloured(40, 0)), [0.49], Plan()
    monkeypatch.setattr("attacks.budget._seconds", lambda trial: clock.pop())
    # In half of 60 seconds there are 58 solutions of 36 pictures, and the cube of 3.87 is 58.
    assert kernel._affordable(session.oracle(Budget(60.0, plan)), lambda: None, 36, 36 * 9) == 139
    assert kernel._affordable(session.oracle(Budget(0.0, Plan(dict(plan.steps)))), lambda: None, 36, 36 * 9) == 139
    assert not clock, "a replay asks for no time"
    assert kernel._affordable(session.oracle(), lambda: None, 36, 36 * 9) == 36 * 9
    assert kernel._affordable(session.oracle(), lambda: None, 36, 50) == 50


@pytest.mark.parametrize("most", [100, 180])
def test_it_is_chosen_by_few_and_learned_from_all(plain, monkeypatch, most):
    monkeypatch.setattr(kernel, "CHOOSING", 60)
    session = Session(PlantedLink(angles), BLIND, coloured(200, 0))
    oracle, attack = session.oracle(), session.fitted(Kernel, most=most)
    own = attack.view(oracle.observe(torch.arange(most)))
    torch.testing.assert_close(attack.likeness.known, own, atol=1e-5, rtol=1e-4)


def test_whoever_has_counted_queries_sends_only_her_own_pictures():
    threat = dataclasses.replace(PRESETS["black-box"], queries=50)
    session = Session(PlantedLink(angles), threat, coloured(40, 0))
    session.fitted(Kernel)
    assert session.queries.sent == 40


def test_no_more_pictures_than_it_may_learn_from():
    session = Session(PlantedLink(angles), SERVER, coloured(100, 0))
    assert len(session.fitted(Kernel, most=50).likeness.known) == 50
