"""How the learned attacks train: until the loss on held-out images stops falling."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from atm.progress import track
from attacks.base import History
from attacks.budget import spent, stopwatch

WARM_UP = 0.1  # of a time budget, at most


@dataclass(frozen=True)
class Schedule:
    """Warm-up, a constant rate until the held-out loss stops falling, then a linear descent to zero.

    Attributes:
        rate: learning rate of AdamW.
        batch: rows per step.
        steps: at most so many; `History.train` says how many it took.
        every: steps between two looks at the held-out loss.
        patience: looks without a loss that is lower by 0.1%, after which the descent begins.
        descent: the last part of the training, as a fraction of all steps.
    """

    rate: float = 1e-3
    batch: int = 32
    steps: int = 6000
    every: int = 100
    patience: int = 5
    descent: float = 0.25


PIXELS = Schedule(rate=3e-3, batch=16, steps=12000, every=200)
"""For networks that draw pictures: the small batches and the high rate gain the most in a given time."""


def train(
    network: nn.Module,
    loss_on: Callable[[Tensor], Tensor],
    rows: Tensor,
    validation: Tensor,
    schedule: Schedule,
    what: str,
) -> History:
    """Train a network in place, within `attacks.budget.time_budget`.

    Where the time is what ends it, warm-up and descent are fractions of the time: a network that is cut off at a high
    rate is worse than one that came down in time. It ends with the weights, the first ones included, that were best on
    the held-out rows.

    Args:
        network: to train.
        loss_on: mean loss over some rows.
        rows: numbers of the rows to train on.
        validation: numbers of the held-out rows.
        schedule: when to stop.
        what: for the progress bar.
    """
    optimizer = torch.optim.AdamW(network.parameters(), schedule.rate, weight_decay=0.01)
    history, kept, stale = History(), copy.deepcopy(network.state_dict()), 0
    best = _held_out_loss(network, loss_on, validation)
    history.check(best)
    end, descent_from = schedule.steps, round(schedule.steps * (1 - schedule.descent))
    warm_up, order = min(50, max(schedule.steps // 5, 1)), torch.randperm(len(rows))
    gone = stopwatch()
    for step in track(range(1, schedule.steps + 1), f"training {what}"):
        if step > end:
            break
        if len(order) < min(schedule.batch, len(rows)):
            order = torch.randperm(len(rows))
        chosen, order = rows[order[: schedule.batch]], order[schedule.batch :]
        rising, falling = step / warm_up, (end - step + 1) / max(end - descent_from, 1)
        of_time = gone()
        rising, falling = max(rising, of_time / WARM_UP), min(falling, (1 - of_time) / schedule.descent)
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate * min(rising, falling, 1.0)
        network.train()
        loss = loss_on(chosen)
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        history.step(loss.detach(), norm)
        history.cut = spent() and step < end
        if step % schedule.every and step != end and not history.cut:
            continue
        held = _held_out_loss(network, loss_on, validation)
        history.check(held)
        stale = 0 if held < 0.999 * best else stale + 1
        if held < best:
            best, kept = held, copy.deepcopy(network.state_dict())
        if history.cut:
            break
        if stale >= schedule.patience and step < descent_from:
            descent_from, end = step, min(end, round(step / (1 - schedule.descent)))
    network.load_state_dict(kept)
    network.eval()
    return history


@torch.no_grad()
def _held_out_loss(network: nn.Module, loss_on: Callable[[Tensor], Tensor], rows: Tensor) -> float:
    network.eval()
    return float(sum(loss_on(part) * len(part) for part in rows.split(256))) / len(rows)


def reconstruction_loss(estimate: Tensor, images: Tensor) -> Tensor:
    """L1 plus 1 - SSIM: the first fixes brightness and colour, the second structure (Zhao et al. 2017)."""
    return l1_loss(estimate, images) + 1 - differentiable_ssim(estimate, images)


def differentiable_ssim(estimate: Tensor, images: Tensor) -> Tensor:
    """Mean SSIM (Wang et al. 2004; Gaussian window of 11 pixels, deviation 1.5) as a loss.

    Libraries blur with a convolution; two products with a band matrix do the same on small images, four times faster,
    and most of a training step was spent there. Scores are never taken with it: those come from torchmetrics.
    """
    height, width = images.shape[-2:]
    down, across = _blur(height).to(images.device), _blur(width).to(images.device)
    pair = torch.stack([estimate, images, estimate * estimate, images * images, estimate * images])
    mean_x, mean_y, xx, yy, xy = down @ pair @ across.T
    luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
    structure = (2 * (xy - mean_x * mean_y) + 0.03**2) / (xx - mean_x**2 + yy - mean_y**2 + 0.03**2)
    return (luminance * structure).mean()


@lru_cache
def _blur(size: int) -> Tensor:
    """``[size, size]``: a Gaussian of deviation 1.5 around each pixel, cut at 5 pixels; edges are reflected."""
    offsets = torch.arange(-5, 6)
    kernel = torch.exp(-(offsets**2) / (2 * 1.5**2))
    kernel = kernel / kernel.sum()
    at = torch.arange(size)[:, None] + offsets
    at = (size - 1 - (size - 1 - at.abs()).abs()).clamp(0, size - 1)
    return torch.zeros(size, size).scatter_add_(1, at, kernel.expand(size, -1))
