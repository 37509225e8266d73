"""What it costs to ignore privacy: policies that are as accurate and as cheap, and leak less."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from audit.pareto.front import feasible, front
from audit.pareto.outcome import FULL_SUITE, Evidence, Outcome
from audit.pareto.trials import Trial

SAME_ACCURACY, SAME_COMPUTE = 0.005, 0.02  # what "equal" means when the price of ignoring privacy is asked


@dataclass(frozen=True)
class Price:
    """A policy of the front without privacy, and the most private one of equal accuracy and compute."""

    ignoring: Trial
    minding: Trial
    evidence: Evidence

    @property
    def leakage(self) -> tuple[float, float]:
        """Of the two, by the strongest evidence that there is of both."""
        return self.evidence.leakage[self.ignoring.name], self.evidence.leakage[self.minding.name]

    @property
    def saved(self) -> float:
        """Leakage that minding privacy saves at no cost."""
        return self.leakage[0] - self.leakage[1]


def prices(outcome: Outcome) -> list[Price]:
    """For each policy of the front without leakage, the most private one that is as accurate and as cheap."""
    others = [o for o in outcome.objectives if o.name != "leakage"]
    if len(others) == len(outcome.objectives) or not {"accuracy", "gflops"} <= {o.name for o in others}:
        return []
    able = [trial for trial in outcome.trials if feasible(trial, outcome.limits)]
    found = []
    for trial in sorted(front(able, others), key=lambda t: -t.values["gflops"]):
        equal = _equals(trial, able)
        evidence = outcome.evidence(equal, [trial])
        if evidence.words != FULL_SUITE:  # not all of them are on the front, and only that was measured again
            evidence = replace(outcome, full={}, again={}).evidence(equal)
        least = min(evidence.leakage, key=evidence.leakage.__getitem__)
        found.append(Price(trial, next(t for t in equal if t.name == least), evidence))
    return found


def _equals(trial: Trial, others: Sequence[Trial]) -> list[Trial]:
    accuracy, gflops = trial.values["accuracy"], trial.values["gflops"]
    return [
        other
        for other in others
        if other.values["accuracy"] >= accuracy - SAME_ACCURACY
        and other.values["gflops"] <= gflops * (1 + SAME_COMPUTE)
    ]
