"""Budgets in work: seconds choose at the start how many steps a loop takes, and the choice is kept.

A loop that looks at the clock gives other numbers on a busy machine. Here a loop asks once, before its first step, how
many steps it may take: a trial says what one of them costs, and the number is recorded. Whoever replays the record
takes exactly as many steps, on whatever machine. So a budget is no limit on time: a machine that slows down afterwards
takes longer.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

PLANNED = 0.95  # of the time that is left; the rest is for what was not tried


@dataclass
class Plan:
    """How many steps every loop of a run takes.

    Attributes:
        steps: by loop; what is in it is replayed.
        record: called with each new choice, before the first step is taken.
    """

    steps: dict[str, int] = field(default_factory=dict)
    record: Callable[[str, int], None] = lambda loop, steps: None

    @classmethod
    def replaying(cls, steps: Mapping[str, int], record: Callable[[str, int], None]) -> Plan:
        """A plan that begins with choices made before."""
        return cls(dict(steps), record)


class Budget:
    """One attack's part of the time.

    Args:
        seconds: from now; infinity sets no limit, and every loop takes the steps that it wants.
        plan: where choices are kept.
        owner: whose loops they are, the first part of their names in the plan.
    """

    def __init__(self, seconds: float = math.inf, plan: Plan | None = None, owner: str = "") -> None:
        self.plan, self.owner = Plan() if plan is None else plan, owner
        self._until = time.monotonic() + seconds
        self._asked: Counter[str] = Counter()

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return self._until != math.inf

    def of(self, owner: str) -> Budget:
        """The same time for what another needs; its loops have names of their own."""
        made = Budget(plan=self.plan, owner=owner)
        made._until = self._until
        return made

    def part(self, fraction: float, name: str) -> Budget:
        """So much of the time that is left."""
        made = self.of(f"{self.owner}/{name}")
        made._until = time.monotonic() + fraction * self._left()
        return made

    def steps(self, loop: str, wanted: int, trial: Callable[[], object], *, times: int = 1, least: int = 1) -> int:
        """How many steps a loop may take.

        Args:
            loop: its name; asked for again, it is another loop.
            wanted: how many it would take with all the time in the world.
            trial: does what a step does and leaves no trace; torch's generators are restored.
            times: how often the loop will run in this time.
            least: how many it takes even where there is no time.
        """
        self._asked[loop] += 1
        key = f"{self.owner}/{loop}/{self._asked[loop]}"
        if key not in self.plan.steps:
            if not self.limited:
                return wanted
            one = _seconds(trial)
            affordable = int(PLANNED * self._left() / times / max(one, 1e-9))
            self.plan.steps[key] = max(min(affordable, wanted), min(least, wanted))
            self.plan.record(key, self.plan.steps[key])
        return min(self.plan.steps[key], wanted)

    def _left(self) -> float:
        return max(self._until - time.monotonic(), 0.0)


class Shares:
    """Time that attacks have one after the other: each gets its share of what those before it have left.

    Args:
        seconds: from now; None sets no limit.
        shares: of each attack by name, in the order in which they run.
    """

    def __init__(self, seconds: float | None, shares: Mapping[str, float]) -> None:
        self._until, self._shares = time.monotonic() + (seconds or math.inf), dict(shares)

    def of(self, name: str) -> float:
        """Seconds for one attack, which is about to begin."""
        names = list(self._shares)
        to_come = sum(self._shares[each] for each in names[names.index(name) :])
        return max(self._until - time.monotonic(), 0.0) * self._shares[name] / to_come


def _seconds(trial: Callable[[], object]) -> float:
    """What a trial costs, the second time: the first one also pays for what is made once."""
    with torch.random.fork_rng():
        trial()
        begun = time.monotonic()
        trial()
        return time.monotonic() - begun
