"""Judging what happened while an attack was trained (`attacks.base.History`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STILL_FALLING = 0.05  # of the whole fall, within the last tenth of the steps
APART = 0.05  # of the best held-out loss, between it and the last one
GAP = 1.5  # held-out loss over training loss
NO_GRADIENT = 1e-9


@dataclass(frozen=True)
class Record:
    """One record of ``history.json``; values that were not finite are NaN."""

    attack: str
    train: list[float]
    gradient: list[float]
    validation: list[tuple[int, float]]
    best_step: int | None
    cut: bool

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Record:
        """A record from the plain values of the file."""

        def number(value: float | None) -> float:
            return math.nan if value is None else float(value)

        return cls(
            attack=content["attack"],
            train=[number(v) for v in content["train"]],
            gradient=[number(v) for v in content["gradient"]],
            validation=[(int(step), number(v)) for step, v in content["validation"]],
            best_step=content["best_step"],
            cut=bool(content["cut"]),
        )

    def bad_gradients(self) -> bool:
        """Whether a gradient is not finite, or more than a tenth of them are 0."""
        zero = sum(abs(g) < NO_GRADIENT for g in self.gradient)
        return any(not math.isfinite(g) for g in self.gradient) or zero > 0.1 * len(self.gradient)

    def still_falling(self) -> bool:
        """Whether the last tenth of the steps still mattered; held-out losses that had stopped falling say no."""
        tenth = len(self.train) // 10
        if tenth < 1 or (self.validation and (self.best_step or 0) < len(self.train) - tenth):
            return False
        first, before, last = (
            sum(part) / tenth for part in (self.train[:tenth], self.train[-2 * tenth : -tenth], self.train[-tenth:])
        )
        return before - last > STILL_FALLING * (first - last) > 0

    def best_far_from_last(self) -> bool:
        """Whether the best held-out loss came in the first half, and the last one is clearly above it."""
        if not self.validation or self.best_step is None:
            return False
        best, last = min(loss for _, loss in self.validation), self.validation[-1][1]
        return self.best_step < len(self.train) / 2 and last > best * (1 + APART)

    def gap(self) -> bool:
        """Whether the held-out loss is far above the training loss around the best step."""
        if not self.validation or not self.best_step:
            return False
        around = self.train[max(self.best_step - max(len(self.train) // 10, 1), 0) : self.best_step]
        return min(loss for _, loss in self.validation) > GAP * sum(around) / len(around)
