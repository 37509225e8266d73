"""What a search found, as its report, ``atm pick`` and the command line show it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import Field

from atm import documents, signals
from atm.signals import Signal
from atm.store import StoredRun
from audit.pareto.config import SearchConfig
from audit.pareto.front import Frame, curve, feasible, front, stagnation, unkept
from audit.pareto.objectives import Bound, Objective
from audit.pareto.trials import Trial, read_trials
from privacy_metrics.registry import METRICS

STOPPED = "stopped by the user"  # how a note begins that says so
RESCORED = "rescored"
FULL_SUITE = "the full suite"
SUITE_IMAGES = 100  # that the full suite attacks, at most
HALF = 1.96  # standard deviations of a 95% interval on each side


Three = Annotated[list[float], Field(min_length=3, max_length=3)]


class _Settings(documents.Fields):
    """What is read of ``search.json``, which anybody may write."""

    config: dict[str, Any]
    start: int = 0
    notes: list[str] = Field(default_factory=list)
    full: dict[str, Three] = Field(default_factory=dict)
    expected: dict[str, Three] = Field(default_factory=dict)
    believed: dict[str, dict[str, float]] = Field(default_factory=dict)
    again: dict[str, dict[str, float]] = Field(default_factory=dict)
    again_noise: dict[str, dict[str, float]] = Field(default_factory=dict)
    again_images: int = 0
    made_with: dict[str, Any] = Field(default_factory=dict)


READ = tuple(_Settings.model_fields)


@dataclass(frozen=True)
class Evidence:
    """What is known of the leakage of some policies, all by the same measurement.

    Attributes:
        words: by which one.
        leakage: of each of those that it was made of, by name.
        error: half of the 95% interval of each, NaN where it is not known.
        missing: policies that it was not made of.
    """

    words: str
    leakage: dict[str, float]
    error: dict[str, float]
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """A search that has ended, or was stopped.

    Attributes:
        folder: where it is.
        config: what was asked for.
        trials: in order of their numbers; where numbers are noisy their values are what the model believes after all
            evaluations (`audit.pareto.proposer.Proposer.believed`), once the search has ended.
        start: how many of them were starting policies.
        notes: on how it ended.
        full: leakage by the full suite ``(estimate, low, high)`` by policy name, where it was re-scored.
        expected: likewise of the other policies, as `audit.pareto.fidelity` foretells it.
        again: objectives by policy name, measured on pictures that the search never saw (`audit.pareto.again`).
        again_noise: variances of the errors of these.
        again_images: how many pictures these were.
        made_with: digests of weights and data, the kind of signal, and versions; empty for searches that did not write
            them down.
        raw: what was measured of each policy of whose numbers the model believes something else, by its name.
    """

    folder: Path
    config: SearchConfig
    trials: tuple[Trial, ...]
    start: int
    notes: tuple[str, ...] = ()
    full: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    expected: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    again: dict[str, dict[str, float]] = field(default_factory=dict)
    again_noise: dict[str, dict[str, float]] = field(default_factory=dict)
    again_images: int = 0
    made_with: dict[str, Any] = field(default_factory=dict)
    raw: dict[str, dict[str, float]] = field(default_factory=dict)

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
    def signal(self) -> type[Signal]:
        """What the victim takes in; pictures for searches that did not write it down."""
        return signals.kind(str(self.made_with.get("signal", signals.ImageSignal.name)))

    @property
    def noun(self) -> str:
        """What people call one."""
        return self.signal.noun

    def heading(self, objective: Objective) -> str:
        """Label and unit of an objective; leakage is in the unit of what was sent."""
        return f"{objective.label} ({self.measure})" if objective.name == "leakage" else objective.heading

    @property
    def measure(self) -> str:
        """What leakage is measured in, for people."""
        return METRICS[self.signal.leakage].label

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
    def unmerged(self) -> Trial | None:
        """The evaluation that merges nothing, with which every search begins; None where it failed."""
        able = (trial for trial in self.trials if trial.failure is None)
        return next((trial for trial in able if min(trial.thresholds) >= 1), None)

    @cached_property
    def shown(self) -> list[Trial]:
        """What tables show: the policy that merges nothing, by which others are judged, then the front without it."""
        if self.unmerged is None:
            return self.front
        return [self.unmerged, *(trial for trial in self.front if trial != self.unmerged)]

    def called(self, trial: Trial) -> str:
        """A policy's name in a table, which says of the unmerged one what it is, and whether it is on the front."""
        if trial != self.unmerged:
            return trial.name
        return f"{trial.name} (unmerged{'' if trial in self.front else ', not on the front'})"

    @cached_property
    def volumes(self) -> list[float]:
        """Hypervolume after each trial."""
        return curve(self.trials, self.frame, self.limits)

    def known(self, trial: Trial) -> dict[str, float]:
        """A policy's numbers by the strongest evidence that all policies of the front share: those on other pictures,
        if the front was measured on them, else those of the search.
        """
        return {**trial.values, **self.again.get(trial.name, {})}

    def cautious(self, trial: Trial) -> dict[str, float]:
        """The numbers that bounds are held against: `known`, and leakage by the full suite where it attacked a policy,
        and where it is only foretold, the upper end of what it may find, if the score has not found more.
        """
        values = self.known(trial)
        if "leakage" in values and trial.name in self.full:
            values["leakage"] = self.full[trial.name][0]
        elif "leakage" in values and trial.name in self.expected:
            values["leakage"] = max(values["leakage"], self.expected[trial.name][2])
        return values

    def error(self, trial: Trial, objective: str) -> float:
        """Half of the 95% interval of a number of `known`, beside that of the unmerged victim on the same pictures.

        NaN where it was not written down. What the model believes is no less sure than what was measured.
        """
        noise = self.again_noise.get(trial.name, {}) if trial.name in self.again else trial.noise
        return HALF * math.sqrt(noise[objective]) if objective in noise else math.nan

    @cached_property
    def confirmed(self) -> list[Trial]:
        """Policies of the front that are on it on other pictures too, if there were any."""
        there = [replace(trial, values=self.known(trial)) for trial in self.front if trial.name in self.again]
        kept = {trial.number for trial in (front(there, self.objectives, self.limits) if self.again else self.front)}
        return [trial for trial in self.front if trial.number in kept]

    @cached_property
    def lasting(self) -> list[Trial]:
        """Those `confirmed` that keep the constraints by the full suite as well, if it attacked."""
        return [trial for trial in self.confirmed if feasible(replace(trial, values=self.cautious(trial)), self.limits)]

    def doubts(self, trial: Trial, limits: Sequence[Bound]) -> list[str]:
        """Bounds that a policy breaks by the very number that was measured, whatever the model believes of it."""
        measured = self.raw.get(trial.name, trial.values)
        return [
            f"{limit.objective.name} {measured[limit.objective.name]:.4g}, as the search measured it, breaks {limit}"
            for limit in limits
            if not limit.met(measured[limit.objective.name])
        ]

    def evidence(self, trials: Sequence[Trial], needed: Sequence[Trial] = ()) -> Evidence:
        """The strongest on the leakage of some policies: the full suite if it attacked any of them, else the score.

        Args:
            trials: the policies.
            needed: those of them that must have been measured by it.
        """
        attacked = {trial.name: self.full[trial.name][0] for trial in trials if trial.name in self.full}
        if attacked and all(trial.name in attacked for trial in needed):
            missing = tuple(trial.name for trial in trials if trial.name not in attacked)
            ends = {name: self.full[name] for name in attacked}
            wide = {name: max(high - estimate, estimate - low) for name, (estimate, low, high) in ends.items()}
            return Evidence(FULL_SUITE, attacked, wide, missing)
        again = bool(self.again) and all(trial.name in self.again for trial in trials)
        words = f"the {self.config.score} score" + (f" on other {self.noun}s" if again else "")
        found = {trial.name: self.known(trial)["leakage"] for trial in trials}
        return Evidence(words, found, {trial.name: self.error(trial, "leakage") for trial in trials})

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
        if self.front and not self.full and any(o.name == "leakage" for o in self.objectives):
            found.append(
                f"leakage is that of the {self.config.score} score, which ranks policies and is no worst case: attack "
                "the front with the full suite (--resume --rescore) before believing it"
            )
        notice = stagnation(self.volumes, self.start)
        if notice:
            found.append(notice)
        if self.limits and not self.front:
            found.append(f"no policy keeps {', '.join(map(str, self.limits))}")
        if self.front and not self.lasting:
            bounds = ", ".join(map(str, self.limits))
            where = [f"on other {self.noun}s"] * bool(self.again) + [f"by {FULL_SUITE}"] * bool(self.full)
            found.append(f"no policy of the front keeps {bounds} {' and '.join(where)}: none is recommended")
        if unkept(self.starting, self.limits):
            found.append(
                "no starting policy keeps all constraints, so policies that break them set the hypervolume's reference"
            )
        found += [f"{trial.name} failed: {trial.failure}" for trial in self.failures]
        return found

    def table(self) -> pd.DataFrame:
        """A row per trial."""
        kept = {trial.number for trial in self.front}
        rows = []
        for trial in self.trials:
            row: dict[str, Any] = {"trial": trial.number, "policy": trial.name}
            row |= {o.name: trial.values.get(o.name, float("nan")) for o in self.measured}
            if self.full:
                row["leakage_full_suite"] = self.full.get(trial.name, (float("nan"),))[0]
            if self.expected:
                ends = self.expected.get(trial.name, (float("nan"),) * 3)
                row |= dict(
                    zip(("leakage_expected", "leakage_expected_low", "leakage_expected_high"), ends, strict=True)
                )
            if self.again:
                found = self.again.get(trial.name, {})
                row |= {f"{o.name}_again": found.get(o.name, float("nan")) for o in self.measured}
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
        believed = about.get("believed", {})
        read = sorted(read_trials(stored), key=lambda trial: trial.number)
        trials = [replace(trial, values={**trial.values, **believed.get(trial.name, {})}) for trial in read]
        full, foretold = (
            {name: (v[0], v[1], v[2]) for name, v in about.get(key, {}).items()} for key in ("full", "expected")
        )
        start = about.get("start", 0)  # a search that was killed while it loaded has not got that far
        notes, made_with = (*about.get("notes", ()), *stored.notes), about.get("made_with", {})
        again, noise, images = about.get("again", {}), about.get("again_noise", {}), about.get("again_images", 0)
        raw = {trial.name: dict(trial.values) for trial in read if trial.name in believed}
        return cls(
            stored.path, config, tuple(trials), start, notes, full, foretold, again, noise, images, made_with, raw
        )
