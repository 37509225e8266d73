"""L-BFGS for many images at once, each a problem of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

FIRST = 2.0  # norm of the first step, before anything is known of the curvature
ENOUGH = 1e-4  # of the decrease that the slope promises (Armijo)


def minimise(
    function: Callable[[Tensor], tuple[Tensor, Tensor]],
    start: Tensor,
    steps: int,
    memory: int = 12,
    each: Callable[[int, Tensor], None] = lambda step, losses: None,
) -> tuple[Tensor, Tensor]:
    """Minimise each row of its own.

    Libraries minimise one function of all variables; here every row has its own curvature and its own step, and one
    row's bad step holds up no other. A step is one evaluation: a row whose loss did not fall enough stays where it is,
    remembers what it learned of the curvature, and goes half as far next time (Nocedal and Wright 2006, algorithm 7.4).

    Args:
        function: ``[B, n]`` -> losses ``[B]`` and gradients ``[B, n]``.
        start: ``[B, n]``.
        steps: evaluations after the first, at most.
        memory: differences that are remembered.
        each: called before every step with its number from 0 and the losses ``[B]``.

    Returns:
        The best places ``[B, n]`` and their losses ``[B]``.
    """
    place = start
    loss, gradient = function(place)
    stride = torch.ones_like(loss)
    past: deque[tuple[Tensor, Tensor]] = deque(maxlen=memory)
    for step in range(steps):
        each(step, loss)
        towards = _direction(gradient, past) * stride[:, None]
        slope = (towards * gradient).sum(1)
        tried = place + towards
        new_loss, new_gradient = function(tried)
        past.append((towards, new_gradient - gradient))
        good = new_loss <= loss + ENOUGH * slope  # false for NaN
        place = torch.where(good[:, None], tried, place)
        gradient = torch.where(good[:, None], new_gradient, gradient)
        loss = torch.where(good, new_loss, loss)
        stride = torch.where(good, (2 * stride).clamp_max(1.0), stride / 2)
    return place, loss


def _direction(gradient: Tensor, past: deque[tuple[Tensor, Tensor]]) -> Tensor:
    """Downhill, by the two-loop recursion; a row leaves out differences in which its curvature is not positive."""
    steepest = -gradient * (FIRST / gradient.norm(dim=1, keepdim=True).clamp_min(1e-12))
    if not past:
        return steepest
    products = [(step * change).sum(1) for step, change in past]
    inverses = [torch.where(product > 1e-10, 1 / product.clamp_min(1e-10), 0.0) for product in products]
    found, weights = gradient, []
    for (step, change), inverse in zip(reversed(past), reversed(inverses), strict=True):
        weight = inverse * (step * found).sum(1)
        weights.append(weight)
        found = found - weight[:, None] * change
    step, change = past[-1]
    scale = (products[-1] / change.square().sum(1).clamp_min(1e-10)).clamp_min(1e-6)
    found = scale[:, None] * found
    for (step, change), inverse, weight in zip(past, inverses, reversed(weights), strict=True):
        found = found + (weight - inverse * (change * found).sum(1))[:, None] * step
    downhill = ((found * gradient).sum(1) > 0) & found.isfinite().all(1)
    return torch.where(downhill[:, None], -found, steepest)
