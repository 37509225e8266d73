"""Where evaluations run: in this process, or on a Ray cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from atm.errors import AtmError
from atm.policy import MergePolicy
from audit.cluster import Jobs
from audit.pareto.problem import Problem
from audit.pareto.trials import Measured, finite


@dataclass(frozen=True)
class Result:
    """What came of one evaluation: numbers, or the reason why there are none."""

    number: int
    measured: Measured | None
    failure: str | None
    seconds: float


class Executor(Protocol):
    """Runs evaluations, ``capacity`` of them at a time."""

    @property
    def capacity(self) -> int:
        """How many may run now."""
        ...

    def start(self, number: int, policy: MergePolicy) -> None:
        """Begin one."""
        ...

    def finish(self) -> Result:
        """Wait for the next one to end."""
        ...

    def close(self) -> None:
        """Let go of whatever runs."""
        ...


class InProcess:
    """One evaluation after the other, here."""

    capacity = 1

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._waiting: list[tuple[int, MergePolicy]] = []

    def start(self, number: int, policy: MergePolicy) -> None:
        """Remember it; it runs when its result is asked for."""
        self._waiting.append((number, policy))

    def finish(self) -> Result:
        """Run it."""
        number, policy = self._waiting.pop(0)
        return evaluate(self.problem, number, policy)

    def close(self) -> None:
        """Nothing runs."""
        self._waiting.clear()


class OnRay:
    """As many evaluations at a time as a cluster can run. Use it within `audit.cluster.connected`.

    Args:
        make: loads the problem, on each worker.
        device: where the problem computes, from `audit.cluster.placed`.
    """

    def __init__(self, make: Callable[[], Problem], device: str = "cpu") -> None:
        self._jobs = Jobs(make, _evaluate, device)

    @property
    def capacity(self) -> int:
        """What the nodes that are alive can run."""
        return self._jobs.capacity

    def start(self, number: int, policy: MergePolicy) -> None:
        """Hand it to the cluster."""
        self._jobs.start((number, policy))

    def finish(self) -> Result:
        """Wait for any to end; one whose processes died again and again has failed."""
        (number, _), result = self._jobs.finish()
        if isinstance(result, AtmError):
            return Result(number, None, f"the cluster lost it: {result}", 0.0)
        return result

    def close(self) -> None:
        """Stop whatever runs."""
        self._jobs.close()


def _evaluate(problem: Problem, job: tuple[int, MergePolicy]) -> Result:
    return evaluate(problem, *job)


def evaluate(problem: Problem, number: int, policy: MergePolicy) -> Result:
    """One evaluation; whatever goes wrong in it becomes its result's failure, except an interrupt from the user."""
    begun = time.perf_counter()
    try:
        measured: Measured | None = problem.measure(policy, number)
        failure = finite(measured) if measured is not None else None
    except Exception as error:
        measured, failure = None, " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return Result(number, None if failure else measured, failure, round(time.perf_counter() - begun, 4))
