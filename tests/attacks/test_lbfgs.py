"""L-BFGS for many images at once, beside SciPy's for one at a time."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import minimize

from attacks.lbfgs import minimise


def quadratics(rows: int, size: int):
    torch.manual_seed(rows)
    roots = torch.randn(rows, size, size, dtype=torch.float64)
    matrices = roots @ roots.mT + torch.eye(size) * 0.5
    towards = torch.randn(rows, size, dtype=torch.float64)

    def function(x):
        gradient = torch.einsum("bij,bj->bi", matrices, x) - towards
        return ((gradient - towards) * x).sum(1) / 2, gradient

    return function, torch.linalg.solve(matrices, towards)


def rosenbrock(x):
    x = x.detach().requires_grad_()
    loss = (100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2).sum(1)
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    return loss.detach(), gradient


def test_every_row_reaches_its_own_minimum():
    function, solution = quadratics(7, 20)
    found, losses = minimise(function, torch.zeros(7, 20, dtype=torch.float64), 200)
    torch.testing.assert_close(found, solution, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(losses, function(solution)[0])


def test_it_is_about_as_good_as_scipy_on_a_bent_valley():
    start = torch.tensor([[-1.2, 1.0], [2.0, -1.0], [0.0, 0.0]], dtype=torch.float64)
    found, losses = minimise(rosenbrock, start, 120)
    for row, loss in zip(start, losses, strict=True):
        theirs = minimize(
            lambda x: tuple(part[0].numpy() for part in rosenbrock(torch.tensor(x)[None])), row.numpy(), jac=True,
            method="L-BFGS-B", options={"maxfun": 120},
        )  # fmt: skip
        assert float(loss) < max(10 * theirs.fun, 1e-6)
    torch.testing.assert_close(found, torch.ones(3, 2, dtype=torch.float64), atol=1e-2, rtol=0)


def test_rows_do_not_disturb_each_other():
    function, _ = quadratics(4, 10)
    start = torch.ones(4, 10, dtype=torch.float64)
    together, _ = minimise(function, start, 15)

    def second(x):
        losses, gradients = function(x.expand(4, -1))
        return losses[1:2], gradients[1:2]

    alone, _ = minimise(second, start[1:2], 15)
    torch.testing.assert_close(together[1:2], alone)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_loss_never_rises_even_where_the_function_breaks(bad):
    def function(x):
        losses, gradients = rosenbrock(x)
        return torch.where(x[:, 0] > 0.5, bad, losses), gradients

    losses = []
    start = torch.tensor([[-1.2, 1.0]], dtype=torch.float64)
    found, last = minimise(function, start, 60, each=lambda step, loss: losses.append(float(loss)))
    assert all(after <= before for before, after in zip(losses, [*losses[1:], float(last)], strict=True))
    assert bool(found.isfinite().all()) and float(last) < losses[0]


@pytest.mark.parametrize("steps", [0, 3])
def test_few_steps_end_with_the_best_so_far(steps):
    function, _ = quadratics(2, 5)
    start = torch.ones(2, 5, dtype=torch.float64)
    found, losses = minimise(function, start, steps)
    torch.testing.assert_close(losses, function(found)[0])
