"""A problem that costs nothing, through the same loop as the real one; also a process that can be killed."""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from atm.policy import MergePolicy
from audit.pareto.config import SearchConfig
from audit.pareto.execution import InProcess
from audit.pareto.outcome import Outcome
from audit.pareto.price import prices
from audit.pareto.run import explore, open_folder
from audit.pareto.space import Space
from audit.pareto.trials import Measured

LAYERS = 3
CONFIG = SearchConfig(evals=14, seed=3)


class Toy:
    """Accuracy falls with the merging of late layers, leakage with that of early ones."""

    def __init__(self, broken: tuple[float, float] = (2.0, 2.0), pause: float = 0.0) -> None:
        self.space = Space.plain(LAYERS, 0.0)
        self.broken, self.pause = broken, pause
        self.asked: list[MergePolicy] = []

    def effect(self, policy: MergePolicy) -> str:
        return str(policy.thresholds)

    def measure(self, policy: MergePolicy, number: int = 0) -> Measured:
        self.asked.append(policy)
        time.sleep(self.pause)
        a, b, c = (1 - t for t in policy.thresholds)
        if self.broken[0] <= a <= self.broken[1]:
            raise ValueError("nothing works here")
        tokens = 5 + 60 * math.exp(-(a + b + c))
        values = {"accuracy": 0.95 - 0.3 * c**2 - 0.05 * b, "gflops": tokens / 300 + 0.02 * (1 - a), "tokens": tokens}
        values["leakage"] = 0.4 + 0.3 * math.exp(-2 * a - b)
        return Measured(values, dict.fromkeys(values, 0.0))


def run(folder: Path, problem: Toy | None = None, resume: bool = False, config: SearchConfig = CONFIG, say=print):
    problem = problem or Toy()
    with open_folder(folder, config, resume, False) as store:
        return explore(problem, config, store, InProcess(problem), say)


def with_twin(outcome: Outcome) -> Outcome:
    """The outcome with one more policy: as accurate and as cheap as one that ignores privacy, and it leaks less."""
    some = prices(outcome)[0].ignoring
    values = {**some.values, "tokens": some.values["tokens"] + 1, "leakage": some.values["leakage"] - 0.2}
    return replace(outcome, trials=(*outcome.trials, replace(some, number=len(outcome.trials), values=values)))


def main(folder: Path, *deaths: int) -> None:
    """Run the search in child processes of one that has BoTorch in memory, each dying ``deaths[i]`` ms after its first
    step; print how far it had come; then let it end. A child is killed by SIGKILL, which no handler sees.
    """
    import signal

    import audit.pareto.proposer  # noqa: F401  so that children are forked with it

    for death in deaths:
        child = os.fork()
        if child == 0:
            run(folder, Toy(pause=0.01), resume=folder.exists(), say=lambda line: None)
            os._exit(0)
        time.sleep(death / 1000)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        log = folder / "trials.jsonl"
        print(len(log.read_text().splitlines()) if log.exists() else 0)
    run(folder, resume=folder.exists(), say=lambda line: None)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
