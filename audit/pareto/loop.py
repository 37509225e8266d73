"""The loop: propose, evaluate, write down, again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from atm.errors import AtmError
from atm.policy import MergePolicy
from audit.pareto.execution import Executor, Result
from audit.pareto.front import curve, stagnation
from audit.pareto.outcome import STOPPED
from audit.pareto.problem import Problem
from audit.pareto.proposer import Proposer
from audit.pareto.space import NEAR
from audit.pareto.trials import Trial, TrialLog

Say = Callable[[str], None]
REJECTED = 64  # candidates in a row without a new effect, after which the space counts as exhausted
FAILURES = 8  # evaluations in a row that fail, after which the search gives up


@dataclass(frozen=True)
class Running:
    """A policy that is being evaluated."""

    thresholds: tuple[float, ...]
    unit: list[float]
    source: str
    effect: str


@dataclass
class Loop:
    """A search in progress.

    Attributes:
        problem: what is searched.
        proposer: chooses policies.
        executor: evaluates them.
        log: keeps them.
        say: called with a line for each step.
    """

    problem: Problem
    proposer: Proposer
    executor: Executor
    log: TrialLog
    say: Say = lambda line: None
    _running: dict[int, Running] = field(default_factory=dict)
    _told: bool = False

    def run(self) -> list[str]:
        """Evaluate until there are enough, and give notes on how it ended. Ctrl-C ends it early and cleanly."""
        try:
            return self._run()
        except KeyboardInterrupt:
            return [f"{STOPPED} after {len(self.log.trials)} of {self.proposer.evals} evaluations"]
        finally:
            self.executor.close()

    def _run(self) -> list[str]:
        notes: list[str] = []
        self._tell("evaluating a first policy" if not self.log.trials else "evaluating the next policy")
        while len(self.log.trials) < self.proposer.evals:
            while (
                not notes
                and len(self._running) < self.executor.capacity
                and len(self.log.trials) + len(self._running) < self.proposer.evals
            ):
                if not self._start():
                    notes.append(
                        f"no policy with a new effect among {REJECTED} candidates: the search ends after "
                        f"{len(self.log.trials) + len(self._running)} of {self.proposer.evals} evaluations"
                    )
            if not self._running:
                break
            self._record(self.executor.finish())
            last = self.log.trials[-FAILURES:]
            if len(last) == FAILURES and all(trial.failure for trial in last):
                raise AtmError(f"the last {FAILURES} evaluations failed, the last with: {last[-1].failure}")
        return notes

    def _start(self) -> bool:
        """Choose the next policy and hand it out; False if there is none left."""
        numbers = {trial.number for trial in self.log.trials} | self._running.keys()
        number = next(n for n in range(len(numbers) + 1) if n not in numbers)
        chosen = self._choose(number)
        if chosen is None:
            return False
        self._running[number] = chosen
        self.executor.start(number, MergePolicy(chosen.thresholds, name=f"trial-{number:04d}"))
        return True

    def _choose(self, number: int) -> Running | None:
        trials = self.log.trials
        units = [list(self.problem.space.unit(trial.thresholds)) for trial in trials]
        pending = [running.unit for running in self._running.values()]
        effects = {trial.effect for trial in trials} | {running.effect for running in self._running.values()}
        candidates = self.proposer.candidates(trials, units, pending, number)
        for _ in range(REJECTED):
            source, point = next(candidates)
            thresholds = self.problem.space.thresholds(point)
            unit = list(self.problem.space.unit(thresholds))
            if near(unit, [*units, *pending]):
                continue
            effect = self.problem.effect(MergePolicy(thresholds))
            if effect not in effects:
                return Running(thresholds, unit, source, effect)
        return None

    def _record(self, result: Result) -> None:
        running = self._running.pop(result.number)
        measured = result.measured
        self.log.add(
            Trial(
                result.number,
                running.thresholds,
                running.source,
                running.effect,
                dict(measured.values) if measured else {},
                dict(measured.noise) if measured else {},
                result.failure,
                result.seconds,
            )
        )
        self._tell(f"evaluating the next policy; the last one: {summary(self.log.trials[-1])}")
        self._notice()

    def _tell(self, line: str) -> None:
        """Say which evaluation goes on, from its beginning on; counted, as long as there is one."""
        done = len(self.log.trials)
        self.say(f"[{done + 1}/{self.proposer.evals}] {line}" if done < self.proposer.evals else line)

    def _notice(self) -> None:
        trials, every = self.log.trials, 10
        if self._told or len(trials) % every or len(trials) <= self.proposer.start:
            return
        volumes = curve(trials, self.proposer.frame(trials), self.proposer.limits)
        notice = stagnation(volumes, self.proposer.start)
        if notice:
            self._told = True
            self.say(f"note: {notice}")


def near(unit: Sequence[float], others: Sequence[Sequence[float]]) -> bool:
    """Whether every coordinate of some other point is within `audit.pareto.space.NEAR`."""
    return any(max(abs(a - b) for a, b in zip(unit, other, strict=True)) < NEAR for other in others)


def summary(trial: Trial) -> str:
    """A trial in a line."""
    if trial.failure is not None:
        return f"failed: {trial.failure}"
    return ", ".join(f"{name} {value:.4g}" for name, value in trial.values.items())
