"""Fronts and hypervolumes of trials, in units that make objectives comparable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from audit.pareto.objectives import Bound, Objective
from audit.pareto.trials import Trial

MARGIN = 0.1  # the reference lies this part of the starting policies' range beyond their worst


@dataclass(frozen=True)
class Frame:
    """Objectives in comparable units, all to be maximised: 0 is the reference, 1 the best of the starting policies.

    Attributes:
        objectives: in order.
        reference: the reference point, in the objectives' own units.
        best: where 1 is.
    """

    objectives: tuple[Objective, ...]
    reference: tuple[float, ...]
    best: tuple[float, ...]

    @classmethod
    def of(
        cls,
        objectives: Sequence[Objective],
        start: Sequence[Trial],
        asked: Mapping[str, float] | None = None,
        limits: Sequence[Bound] = (),
    ) -> Frame:
        """The rule: each objective's reference is its worst value among the starting policies that keep all limits,
        moved on by a tenth of the range of all starting policies, unless the user set it. Where none of them keeps all
        limits (`unkept`), the rule is applied to all.
        """
        measured = [trial for trial in start if trial.failure is None]
        able = measured if unkept(start, limits) else [trial for trial in measured if feasible(trial, limits)]
        reference, best = [], []
        for o in objectives:
            values, every = ([o.sign * t.values[o.name] for t in part] or [0.0, 1.0] for part in (able, measured))
            low, high = min(values), max(values)
            span = (max(every) - min(every)) or max(abs(high), 1e-9)
            at = o.sign * (asked or {}).get(o.name, o.sign * (low - MARGIN * span))
            reference.append(o.sign * at)
            best.append(o.sign * (high if high > at else at + span))
        return cls(tuple(objectives), tuple(reference), tuple(best))

    def normalise(self, values: Tensor) -> Tensor:
        """``[..., objectives]`` in their own units -> the frame's."""
        reference, best = values.new_tensor(self.reference), values.new_tensor(self.best)
        return (values - reference) / (best - reference)

    def points(self, trials: Sequence[Trial]) -> Tensor:
        """``[trials, objectives]`` in the frame's units."""
        rows = [[trial.values[o.name] for o in self.objectives] for trial in trials]
        return self.normalise(torch.tensor(rows, dtype=torch.float64).reshape(len(rows), len(self.objectives)))


def feasible(trial: Trial, limits: Sequence[Bound]) -> bool:
    """Whether a trial has values and keeps every bound."""
    return trial.failure is None and all(bound.met(trial.values[bound.objective.name]) for bound in limits)


def unkept(start: Sequence[Trial], limits: Sequence[Bound]) -> bool:
    """Whether there are limits and starting policies, and none of these keeps all of those."""
    return bool(limits) and bool(start) and not any(feasible(trial, limits) for trial in start)


def non_dominated(points: Tensor) -> Tensor:
    """``[n]`` bool: no other point is at least as good everywhere and better somewhere; of equal ones the first."""
    if not len(points):
        return torch.zeros(0, dtype=torch.bool)
    better = (points[:, None] >= points[None]).all(-1)  # [i, j]: i is at least as good as j
    equal = better & better.T
    earlier = torch.ones(len(points), len(points)).triu(1).bool()  # i < j
    return ~((better & ~equal) | (equal & earlier)).any(0)


def front(trials: Sequence[Trial], objectives: Sequence[Objective], limits: Sequence[Bound] = ()) -> list[Trial]:
    """The trials that keep all bounds and that no other such trial dominates, in their order."""
    able = [trial for trial in trials if feasible(trial, limits)]
    rows = [[o.sign * trial.values[o.name] for o in objectives] for trial in able]
    keep = non_dominated(torch.tensor(rows, dtype=torch.float64).reshape(len(rows), len(objectives)))
    return [trial for trial, kept in zip(able, keep.tolist(), strict=True) if kept]


def hypervolume(points: Tensor) -> float:
    """Volume that ``[n, m]`` points dominate above the origin, exact.

    Args:
        points: all to be maximised; those that are not above 0 everywhere count for nothing.
    """
    # BoTorch takes seconds to import, and whoever only reads a front does not need it.
    from botorch.utils.multi_objective.box_decompositions.dominated import DominatedPartitioning

    points = points[(points > 0).all(1)].double()
    if not len(points):
        return 0.0
    return float(DominatedPartitioning(points.new_zeros(points.shape[1]), points).compute_hypervolume())


def curve(trials: Sequence[Trial], frame: Frame, limits: Sequence[Bound] = ()) -> list[float]:
    """The hypervolume after each trial."""
    found: list[Trial] = []
    volumes: list[float] = []
    for trial in trials:
        last = volumes[-1] if volumes else 0.0
        if feasible(trial, limits):
            grown = front([*found, trial], frame.objectives)
            last = last if grown == found else hypervolume(frame.points(grown))
            found = grown
        volumes.append(last)
    return volumes


def stagnation(volumes: Sequence[float], start: int) -> str | None:
    """A notice if the search has come to a halt, else None.

    The rule: the last fifth of the evaluations, at least 10, and none of them starting ones, added less than 0.5% to
    the hypervolume.
    """
    window = max(len(volumes) // 5, 10)
    if len(volumes) < start + window or volumes[-1] <= 0:
        return None
    growth = volumes[-1] / max(volumes[-1 - window], 1e-12) - 1
    if growth >= 0.005:
        return None
    return f"the last {window} evaluations added {growth:.2%} to the hypervolume; more of them will hardly help"
