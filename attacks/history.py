"""What attacks that take steps record while they do."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class History:
    """What happened while an attack was trained or descended.

    The evaluator writes it to the run folder, and flags judge it (docs/flags.md).

    Attributes:
        train: loss on what it is trained on, one per step.
        gradient: norm, one per step, of the gradient of that part of the loss which depends on the tokens.
        validation: ``(step, loss)`` on held-out images, one per check; empty where the attack has no such images.
        best_step: the step whose result was kept; None where it is the last.
        cut: whether a budget left it fewer steps than it wanted.
    """

    train: list[float] = field(default_factory=list)
    gradient: list[float] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)
    best_step: int | None = None
    cut: bool = False

    def step(self, loss: Tensor | float, gradient: Tensor | float, number: int | None = None) -> None:
        """Record a step; several descents give its ``number`` from 0, and their losses and gradients add up."""
        if number is None or number >= len(self.train):
            self.train.append(float(loss))
            self.gradient.append(float(gradient))
        else:
            self.train[number] += float(loss)
            self.gradient[number] += float(gradient)

    def check(self, loss: float) -> None:
        """Record a loss on held-out images, after the steps so far; the lowest marks the best step."""
        if not self.validation or loss < min(held for _, held in self.validation):
            self.best_step = len(self.train)
        self.validation.append((len(self.train), loss))

    def as_dict(self) -> dict[str, Any]:
        """Plain values with six digits; what is not finite becomes None, because JSON has no word for it."""
        return {key: _plain(value) for key, value in asdict(self).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
