"""What a search found, as its report, ``atm pick`` and the command line show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import Field

from atm import documents
from atm.store import StoredRun
from audit.pareto.config import SearchConfig
from audit.pareto.front import Frame, curve, feasible, front, stagnation, unkept
from audit.pareto.objectives import OBJECTIVES, Bound, Objective
from audit.pareto.trials import Trial, read_trials

STOPPED = "stopped by the user"  # how a note begins that says so
RESCORED = "rescored"
SUITE_IMAGES = 100  # that the full suite attacks, at most
GIVEN_UP = 0.05  # accuracy that the privacy-first and the efficiency-first recommendation may cost
SAME_ACCURACY, SAME_COMPUTE = 0.005, 0.02  # what "equal" means when the price of ignoring privacy is asked


class _Settings(documents.Fields):
    """What is read of ``search.json``, which anybody may write."""

    config: dict[str, Any]
    start: int = 0
    notes: list[str] = Field(default_factory=list)
    full: dict[str, Annotated[list[float], Field(min_length=3, max_length=3)]] = Field(default_factory=dict)
    made_with: dict[str, Any] = Field(default_factory=dict)


READ = tuple(_Settings.model_fields)


@dataclass(frozen=True)
class Recommendation:
    """One policy of the front, and why."""

    title: str
    trial: Trial
    reason: str


@dataclass(frozen=True)
class Price:
    """A policy of the front without privacy, and the most private one of equal accuracy and compute."""

    ignoring: Trial
    minding: Trial

    @property
    def saved(self) -> float:
        """Leakage that minding privacy saves at no cost."""
        return self.ignoring.values["leakage"] - self.minding.values["leakage"]


@dataclass(frozen=True)
class Outcome:
    """A search that has ended, or was stopped.

    Attributes:
        folder: where it is.
        config: what was asked for.
        trials: in order of their numbers.
        start: how many of them were starting policies.
        notes: on how it ended.
        full: leakage by the full suite ``(estimate, low, high)`` by policy name, where it was re-scored.
        made_with: digests of weights and data, and versions; empty for searches that did not write them down.
    """

    folder: Path
    config: SearchConfig
    trials: tuple[Trial, ...]
    start: int
    notes: tuple[str, ...] = ()
    full: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    made_with: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def objectives(self) -> tuple[Objective, ...]:
        """What was optimised."""
        return self.config.asked()[0]

    @cached_property
    def limits(self) -> tuple[Bound, ...]:
        """The constraints."""
        return self.config.asked()[1]

    @cached_property
    def measured(self) -> tuple[Objective, ...]:
        """Objectives, then what only constraints bound."""
        return tuple(dict.fromkeys([*self.objectives, *(limit.objective for limit in self.limits)]))

    @cached_property
    def starting(self) -> list[Trial]:
        """Policies that were evaluated before there was a model."""
        return [trial for trial in self.trials if trial.number < self.start]

    @cached_property
    def frame(self) -> Frame:
        """In which units hypervolume is measured."""
        return Frame.of(self.objectives, self.starting, self.config.asked()[2], self.limits)

    @cached_property
    def front(self) -> list[Trial]:
        """Policies that keep the constraints and that no other dominates, the most private first."""
        order = "leakage" if any(o.name == "leakage" for o in self.objectives) else self.objectives[0].name
        return sorted(front(self.trials, self.objectives, self.limits), key=lambda trial: trial.values[order])

    @cached_property
    def volumes(self) -> list[float]:
        """Hypervolume after each trial."""
        return curve(self.trials, self.frame, self.limits)

    @property
    def stopped(self) -> bool:
        """Whether the user stopped it."""
        return any(note.startswith(STOPPED) for note in self.notes)

    @property
    def failures(self) -> list[Trial]:
        """Evaluations without numbers."""
        return [trial for trial in self.trials if trial.failure is not None]

    @property
    def warnings(self) -> list[str]:
        """Everything that a reader must know."""
        found = list(self.notes)
        notice = stagnation(self.volumes, self.start)
        if notice:
            found.append(notice)
        if self.limits and not self.front:
            found.append(f"no policy keeps {', '.join(map(str, self.limits))}")
        if unkept(self.starting, self.limits):
            found.append(
                "no starting policy keeps all constraints, so policies that break them set the hypervolume's reference"
            )
        found += [f"{trial.name} failed: {trial.failure}" for trial in self.failures]
        return found

    def recommended(self) -> list[Recommendation]:
        """Privacy first, balanced, efficiency first; fewer where an objective for one is missing."""
        names = [o.name for o in self.objectives]
        found = []
        accurate = self._accurate()
        allowed = f"among policies that lose at most {GIVEN_UP:.0%} of accuracy" if "accuracy" in names else "of all"
        if "leakage" in names and accurate:
            trial = min(accurate, key=lambda t: t.values["leakage"])
            found.append(Recommendation("privacy first", trial, f"the least leakage {allowed}"))
        if self.front:
            worst = [float(row.min()) for row in self.frame.points(self.front)]
            trial = self.front[max(range(len(worst)), key=worst.__getitem__)]
            reason = "its worst objective, as a part of the range from reference to best, is better than any other's"
            found.append(Recommendation("balanced", trial, reason))
        cheap = next((name for name in ("gflops", "latency", "tokens", "symbols") if name in names), None)
        if cheap and accurate:
            trial = min(accurate, key=lambda t: t.values[cheap])
            found.append(Recommendation("efficiency first", trial, f"the least {OBJECTIVES[cheap].label} {allowed}"))
        return found

    def _accurate(self) -> list[Trial]:
        if not any(o.name == "accuracy" for o in self.objectives):
            return self.front
        best = max((trial.values["accuracy"] for trial in self.front), default=0.0)
        return [trial for trial in self.front if trial.values["accuracy"] >= best - GIVEN_UP]

    def price(self) -> list[Price]:
        """For each policy of the front without leakage, the most private one that is as accurate and as cheap."""
        others = [o for o in self.objectives if o.name != "leakage"]
        if len(others) == len(self.objectives) or not {"accuracy", "gflops"} <= {o.name for o in others}:
            return []
        able = [trial for trial in self.trials if feasible(trial, self.limits)]
        return [Price(trial, min(_equals(trial, able), key=lambda t: t.values["leakage"]))
                for trial in sorted(front(able, others), key=lambda t: -t.values["gflops"])]  # fmt: skip

    def table(self) -> pd.DataFrame:
        """A row per trial."""
        kept = {trial.number for trial in self.front}
        rows = []
        for trial in self.trials:
            row: dict[str, Any] = {"trial": trial.number, "policy": trial.name}
            row |= {o.name: trial.values.get(o.name, float("nan")) for o in self.measured}
            if self.full:
                row["leakage_full_suite"] = self.full.get(trial.name, (float("nan"),))[0]
            row |= {f"threshold_{layer}": t for layer, t in enumerate(trial.thresholds)}
            rows.append({**row, "source": trial.source, "front": trial.number in kept})
        return pd.DataFrame(rows)

    @classmethod
    def read(cls, folder: str | Path) -> Outcome:
        """From disk.

        Raises:
            AtmError: the folder holds no search, or a damaged one.
        """
        stored = StoredRun(folder, "search")
        about = stored.about
        documents.typed(_Settings, {key: about[key] for key in READ if key in about}, f"{stored.path / 'search.json'}")
        config = SearchConfig.from_dict(about["config"], stored.path)
        trials = sorted(read_trials(stored), key=lambda trial: trial.number)
        full = {name: (v[0], v[1], v[2]) for name, v in about.get("full", {}).items()}
        start = about.get("start", 0)  # a search that was killed while it loaded has not got that far
        notes, made_with = (*about.get("notes", ()), *stored.notes), about.get("made_with", {})
        return cls(stored.path, config, tuple(trials), start, notes, full, made_with)


def _equals(trial: Trial, others: Sequence[Trial]) -> list[Trial]:
    accuracy, gflops = trial.values["accuracy"], trial.values["gflops"]
    return [
        other
        for other in others
        if other.values["accuracy"] >= accuracy - SAME_ACCURACY
        and other.values["gflops"] <= gflops * (1 + SAME_COMPUTE)
    ]
