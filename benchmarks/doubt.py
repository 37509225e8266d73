"""Which policies no other one is surely better than, where numbers have errors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from audit.pareto.objectives import Objective
from audit.pareto.trials import Trial

LEVEL = 0.95


def in_doubt(trials: Sequence[Trial], objectives: Sequence[Objective], level: float = LEVEL) -> list[Trial]:
    """The trials of which no other is at least as good in all objectives with a probability of ``level`` or more.

    Errors are normal, independent, and of the variances that trials have; a number without noise is exact. Where all
    are, this is the front (`audit.pareto.front.front`): of equal trials the first.
    """
    values = _table([[o.sign * trial.values[o.name] for o in objectives] for trial in trials], len(objectives))
    variance = _table([[trial.noise.get(o.name, 0.0) for o in objectives] for trial in trials], len(objectives))
    better = values[:, None] - values[None]  # [i, j]: by how much i is better than j
    deviation = (variance[:, None] + variance[None]).sqrt()
    exact, noisy = (better >= 0).double(), torch.special.ndtr(better / deviation.clamp_min(1e-30))
    sure = torch.where(deviation > 0, noisy, exact).prod(-1) >= level
    sure &= ~(sure.T & torch.ones_like(sure).tril())  # of two that are as good as each other, and of itself
    return [trial for trial, beaten in zip(trials, sure.any(0).tolist(), strict=True) if not beaten]


def _table(rows: list[list[float]], width: int) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, width)
