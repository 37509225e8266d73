"""Policies of one run against each other, on the same pictures."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

from privacy_metrics.statistics import Effect, paired_effect
from reports.flags import FEWEST_IMAGES
from reports.run import Run


@dataclass(frozen=True)
class Pair:
    """Two policies: the effect is the leakage of the first minus that of the second."""

    first: str
    second: str
    effect: Effect

    @property
    def in_words(self) -> str:
        """Which one leaks more, if that is sure."""
        difference = self.effect.difference
        if difference.n < FEWEST_IMAGES:
            return f"{difference.n} pictures are too few to say"
        if difference.low > 0:
            return f"{self.first} leaks more"
        if difference.high < 0:
            return f"{self.second} leaks more"
        return "no difference is sure"


def paired(run: Run) -> list[Pair]:
    """Every pair of policies, in the order of the run; none from a single picture."""
    worst = {policy: run.worst_case(policy) for policy in run.policies}
    return [
        Pair(a, b, paired_effect(worst[a], worst[b]))
        for a, b in combinations(run.policies, 2)
        if len(worst[a]) == len(worst[b]) > 1
    ]
