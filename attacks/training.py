"""How the learned attacks train: until the loss on held-out images stops falling."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from atm.progress import track
from attacks.budget import Budget
from attacks.history import History


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
    budget: Budget,
) -> History:
    """Train a network in place, for as many steps as the schedule wants and the budget has.

    Warm-up and descent are fractions of these steps: a network that is cut off at a high rate is worse than one that
    came down in time. It ends with the weights, the first ones included, that were best on the held-out rows.

    Args:
        network: to train.
        loss_on: mean loss over some rows.
        rows: numbers of the rows to train on.
        validation: numbers of the held-out rows.
        schedule: when to stop.
        what: for the progress bar and the plan.
        budget: of the attack.
    """
    optimizer = torch.optim.AdamW(network.parameters(), schedule.rate, weight_decay=0.01)
    history, kept, stale = History(), copy.deepcopy(network.state_dict()), 0
    best = _held_out_loss(network, loss_on, validation)
    history.check(best)

    def trial() -> None:
        _norm_of_step(network, loss_on(rows[: schedule.batch]))
        optimizer.zero_grad()
        _held_out_loss(
            network, loss_on, validation[: len(validation) // schedule.every + 1]
        )  # a step's part of a check

    network.train()
    steps = budget.steps(f"training {what}", schedule.steps, trial)
    network.load_state_dict(kept)  # what a trial leaves in a batch norm
    history.cut = steps < schedule.steps
    end, descent_from = steps, round(steps * (1 - schedule.descent))
    warm_up, order = min(50, max(steps // 5, 1)), torch.randperm(len(rows))
    for step in track(range(1, steps + 1), f"training {what}"):
        if step > end:
            break
        if len(order) < min(schedule.batch, len(rows)):
            order = torch.randperm(len(rows))
        chosen, order = rows[order[: schedule.batch]], order[schedule.batch :]
        rising, falling = step / warm_up, (end - step + 1) / max(end - descent_from, 1)
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate * min(rising, falling, 1.0)
        network.train()
        loss = loss_on(chosen)
        optimizer.zero_grad()
        norm = _norm_of_step(network, loss)
        optimizer.step()
        history.step(loss.detach(), norm)
        if step % schedule.every and step != end:
            continue
        held = _held_out_loss(network, loss_on, validation)
        history.check(held)
        stale = 0 if held < 0.999 * best else stale + 1
        if held < best:
            best, kept = held, copy.deepcopy(network.state_dict())
        if stale >= schedule.patience and step < descent_from:
            descent_from, end = step, min(end, round(step / (1 - schedule.descent)))
    network.load_state_dict(kept)
    network.eval()
    return history


def trial_step(network: nn.Module, loss_on: Callable[[Tensor], Tensor], rows: Tensor) -> Callable[[], None]:
    """What a step of a training on some rows does, but for the step itself: it leaves no trace."""

    def trial() -> None:
        network.train()  # a loss may cost less there
        loss_on(rows).backward()
        network.zero_grad()

    return trial


def _norm_of_step(network: nn.Module, loss: Tensor) -> Tensor:
    """Gradients of a loss, clipped to norm 1, and the norm that they had."""
    loss.backward()
    return nn.utils.clip_grad_norm_(network.parameters(), 1.0)


@torch.no_grad()
def _held_out_loss(network: nn.Module, loss_on: Callable[[Tensor], Tensor], rows: Tensor) -> float:
    network.eval()
    return float(sum(loss_on(part) * len(part) for part in rows.split(256))) / len(rows)
