"""Evaluations on disk: one line each, safe before the next begins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from atm.errors import AtmError
from atm.policy import MergePolicy
from atm.store import RunStore, StoredRun

TRIALS = "trials.jsonl"


@dataclass(frozen=True)
class Measured:
    """Numbers of one policy.

    Attributes:
        values: by objective.
        noise: variance of each value's error, from the bootstrap.
    """

    values: Mapping[str, float]
    noise: Mapping[str, float]


@dataclass(frozen=True)
class Trial:
    """One evaluation.

    Attributes:
        number: from 0; also seeds its proposal.
        thresholds: one per layer.
        source: why it was proposed: ``start``, ``model``, or ``fill`` where the model had nothing new.
        effect: what identifies the merges that it does; equal effects mean equal outcomes.
        values: by objective; empty if it failed.
        noise: variances of the values.
        failure: why it has no values; None if it has.
        seconds: that the evaluation took. This alone differs between two runs with the same seed.
    """

    number: int
    thresholds: tuple[float, ...]
    source: str
    effect: str
    values: Mapping[str, float] = field(default_factory=dict)
    noise: Mapping[str, float] = field(default_factory=dict)
    failure: str | None = None
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """What its policy is called."""
        return f"trial-{self.number:04d}"

    @property
    def policy(self) -> MergePolicy:
        """The policy that was evaluated."""
        return MergePolicy(self.thresholds, name=self.name)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Trial:
        """From what `TrialLog` wrote; raises ``TypeError`` or ``KeyError`` for anything else."""
        return cls(**{**record, "thresholds": tuple(record["thresholds"])})


def finite(measured: Measured) -> str | None:
    """Why numbers cannot be used, or None if they can."""
    wrong = [f"{name} is {value}" for name, value in measured.values.items() if not math.isfinite(value)]
    wrong += [f"the noise of {name} is {value}" for name, value in measured.noise.items() if not math.isfinite(value)]
    return ", ".join(wrong) or None


def read_trials(stored: StoredRun) -> list[Trial]:
    """The finished evaluations of a search, which may be running; empty if there are none.

    Raises:
        AtmError: a line is damaged.
    """
    trials = []
    for number, record in enumerate(stored.records(TRIALS), 1):
        try:
            trials.append(Trial.from_record(record))
        except (TypeError, KeyError):
            raise AtmError(f"{stored.path / TRIALS}, line {number} is no evaluation; start anew with --force") from None
    return trials


class TrialLog:
    """``trials.jsonl``, for the one search that writes it; others read it with `read_trials`.

    Args:
        store: of the search.

    Raises:
        AtmError: a line is damaged.
    """

    def __init__(self, store: RunStore) -> None:
        self.store = store
        self.trials = read_trials(store)

    def add(self, trial: Trial) -> None:
        """Append, and return once the line is on disk."""
        self.store.append(TRIALS, asdict(trial))
        self.trials.append(trial)
