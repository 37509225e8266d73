"""Policies of one run against each other, on the same pictures."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from atm.text import told_of
from privacy_metrics.significance import SURE, holm, paired_p_value
from privacy_metrics.statistics import Effect, paired_effect
from reports.level import FEWEST_IMAGES
from reports.run import Run


@dataclass(frozen=True)
class Pair:
    """Two policies.

    Attributes:
        first: name of one.
        second: name of the other.
        effect: the leakage of the first minus that of the second, with an interval for this pair alone.
        p_value: that they leak the same, corrected for all pairs of the run (Holm).
        noun: what one of those is called that both were attacked on.
    """

    first: str
    second: str
    effect: Effect
    p_value: float
    noun: str

    @property
    def in_words(self) -> str:
        """Which one leaks more, if that is sure among all pairs."""
        difference = self.effect.difference
        if difference.n < FEWEST_IMAGES:
            return told_of(difference.n, f"{self.noun}s are too few to say")
        if self.p_value < SURE:
            return f"{self.first if difference.estimate > 0 else self.second} leaks more"
        return "no difference is sure"


def paired(run: Run) -> list[Pair]:
    """Every pair of policies, in the order of the run; none from a single picture."""
    worst = {policy: run.worst_case(policy) for policy in run.policies}
    pairs = [(a, b) for a, b in combinations(run.policies, 2) if len(worst[a]) == len(worst[b]) > 1]
    corrected = holm([paired_p_value(worst[a], worst[b], two_sided=True) for a, b in pairs])
    return [
        Pair(a, b, paired_effect(worst[a], worst[b]), p, run.signal.noun)
        for (a, b), p in zip(pairs, corrected, strict=True)
    ]
