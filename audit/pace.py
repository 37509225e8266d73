"""How long the rest of a command may take, told from how long steps of the same kind took."""

from __future__ import annotations

import math
from collections import defaultdict

SLACK = 1.0  # seconds by which a step may be slower than those before it without a word


class Pace:
    """Steps of several kinds that come round and round, as the attacks on one policy do on the next.

    Nothing is told before a whole round is done: a costly kind that has not been seen yet may take more than all the
    others together.
    """

    def __init__(self) -> None:
        self._kinds: list[str] = []
        self._took: defaultdict[str, list[float]] = defaultdict(list)
        self._number = self._to_come = 0
        self._begun = 0.0

    def step(self, kind: str, number: int, total: int, now: float) -> None:
        """A step begins, and with that the one before it has ended.

        Args:
            kind: of the step.
            number: of the step, from 1; one that is no later than the step before begins another count.
            total: steps of the count.
            now: seconds on any clock.
        """
        if number <= self._number:
            self._kinds, self._took = [], defaultdict(list)
        if self._kinds:
            self._took[self._kinds[-1]].append(now - self._begun)
        self._kinds.append(kind)
        self._number, self._to_come, self._begun = number, total - number, now

    def left(self, now: float) -> tuple[float, float] | None:
        """Seconds at least and at most, if the rest takes as long as its kinds took; None before a round is done.

        A step that takes longer than any of its kind did has no end that is known: at most, infinity.
        """
        first = self._kinds[0] if self._kinds else ""
        if first not in self._kinds[1:]:
            return None
        period = self._kinds.index(first, 1)
        at, passed = len(self._kinds) - 1, now - self._begun
        rest = [self._kinds[(at + ahead) % period] for ahead in range(1, self._to_come + 1)]
        least, most = (
            sum(end(self._took[kind]) for kind in rest) + max(end(self._took[self._kinds[at % period]]) - passed, 0.0)
            for end in (min, max)
        )
        return least, math.inf if passed > max(self._took[self._kinds[at % period]]) + SLACK else most
