"""What is compared in `benchmarks.search`: our search, and what people would use instead, on one objective function."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torch.quasirandom import SobolEngine

from atm.policy import MergePolicy
from audit.pareto.config import SearchConfig
from audit.pareto.execution import InProcess
from audit.pareto.objectives import Objective
from audit.pareto.problem import PolicyProblem
from audit.pareto.run import explore, open_folder
from audit.pareto.trials import Measured, Trial

Choose = Callable[["Remembering", int, int], None]


class Remembering:
    """A problem that evaluates no policy twice over all methods, and keeps what one method asked for, in order.

    Args:
        problem: that evaluates.
        lowest: threshold that rivals may choose.
        objectives: of all methods.
        memory: a file of lines with what was evaluated, also in earlier runs; None keeps it in this process only.
    """

    def __init__(
        self, problem: PolicyProblem, lowest: float, objectives: Sequence[Objective], memory: Path | None = None
    ) -> None:
        self.problem, self.space, self.lowest, self.objectives = problem, problem.space, lowest, objectives
        self.memory, self.known = memory, _read(memory)
        self.forget()

    def forget(self) -> None:
        """What was asked for, not what is known."""
        self.asked: list[Trial] = []
        self.policies: list[MergePolicy] = []
        self.evaluating = 0.0

    def effect(self, policy: MergePolicy) -> str:
        """The problem's own."""
        return self.problem.effect(policy)

    def measure(self, policy: MergePolicy, number: int = 0) -> Measured:
        """From memory, if any method asked for it before."""
        rounds = len(self.problem.rounds)
        key = json.dumps([policy.thresholds, policy.remove, *([number % rounds] if rounds > 1 else [])])
        if key not in self.known:
            begun = time.perf_counter()
            measured = self.problem.measure(policy, number)
            self.evaluating += time.perf_counter() - begun
            self.known[key] = measured
            if self.memory is not None:
                line = {"key": key, "values": dict(measured.values), "noise": dict(measured.noise)}
                with self.memory.open("a") as file:
                    file.write(json.dumps(line) + "\n")
        measured = self.known[key]
        self.asked.append(Trial(len(self.asked), policy.thresholds, "", "", measured.values, measured.noise))
        self.policies.append(policy)
        return measured

    def costs(self, unit: Sequence[float]) -> list[float]:
        """Objectives to be minimised at a point of the unit cube of thresholds, as rivals see it."""
        thresholds = tuple(round(self.lowest + float(u) * (1 - self.lowest), 4) for u in unit)
        values = self.measure(MergePolicy(thresholds + (1.0,) * self.space.behind)).values
        return [-o.sign * values[o.name] for o in self.objectives]


def _read(memory: Path | None) -> dict[str, Measured]:
    if memory is None or not memory.exists():
        return {}
    lines = [json.loads(line) for line in memory.read_text().splitlines()]
    return {line["key"]: Measured(line["values"], line["noise"]) for line in lines}


def ours(problem: Remembering, evals: int, seed: int) -> None:
    config = SearchConfig(evals=evals, seed=seed, objectives=tuple(o.name for o in problem.objectives))
    with TemporaryDirectory() as folder, open_folder(Path(folder) / "run", config, False, False) as store:
        explore(problem, config, store, InProcess(problem), lambda line: None)


def random(problem: Remembering, evals: int, seed: int) -> None:
    for unit in np.random.default_rng(seed).random((evals, problem.space.depth)):
        problem.costs(unit)


def sobol(problem: Remembering, evals: int, seed: int) -> None:
    for unit in SobolEngine(problem.space.depth, scramble=True, seed=seed).draw(evals).tolist():
        problem.costs(unit)


def _optuna(sampler: Callable[[int], Any]) -> Choose:
    def choose(problem: Remembering, evals: int, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(directions=["minimize"] * len(problem.objectives), sampler=sampler(seed))
        layers = range(problem.space.depth)
        study.optimize(lambda t: problem.costs([t.suggest_float(f"t{i}", 0, 1) for i in layers]), n_trials=evals)

    return choose


def _nsga2(seed: int) -> Any:
    from optuna.samplers import NSGAIISampler

    return NSGAIISampler(seed=seed, population_size=16)


def _tpe(seed: int) -> Any:
    from optuna.samplers import TPESampler

    return TPESampler(seed=seed)  # what create_study takes for several objectives if asked for nothing


def nsga3(problem: Remembering, evals: int, seed: int) -> None:
    from pymoo.algorithms.moo.nsga3 import NSGA3
    from pymoo.core.problem import ElementwiseProblem
    from pymoo.optimize import minimize
    from pymoo.util.ref_dirs import get_reference_directions

    width = len(problem.objectives)

    class Asked(ElementwiseProblem):
        def __init__(self) -> None:
            super().__init__(n_var=problem.space.depth, n_obj=width, xl=0.0, xu=1.0)

        def _evaluate(self, x: np.ndarray, out: dict[str, object], *args: object, **kwargs: object) -> None:
            out["F"] = problem.costs(x.tolist())

    directions = get_reference_directions("energy", width, 16, seed=seed)
    minimize(Asked(), NSGA3(ref_dirs=directions, pop_size=16), ("n_eval", evals), seed=seed, verbose=False)


def grid(problem: Remembering, evals: int, seed: int) -> None:
    for unit in np.linspace(1, 0, evals):
        problem.costs([unit] * problem.space.depth)


def fixed_ratio(problem: Remembering, evals: int, seed: int) -> None:
    """Whole numbers of tokens that ToMe can remove in each layer, all of them or evenly as many as there may be."""
    for remove in np.unique(np.linspace(0, most_removed(problem), evals).round().astype(int)).tolist():
        problem.measure(removing(problem, remove))


def most_removed(problem: Remembering) -> int:
    """The most tokens that a layer can merge."""
    rows, columns = problem.problem.setting.encoder.patch_grid
    return int(rows * columns // 2)


def removing(problem: Remembering, remove: int) -> MergePolicy:
    """The policy that merges so many tokens in every layer up to the exit, by the matching that all policies share."""
    space = problem.space
    numbers = (remove,) * space.depth + (0,) * space.behind
    return replace(MergePolicy.fixed_ratio(remove, len(numbers)), remove=numbers)


METHODS: dict[str, Choose] = {
    "ours": ours,
    "random": random,
    "sobol": sobol,
    "optuna-nsga2": _optuna(_nsga2),
    "optuna-tpe": _optuna(_tpe),
    "pymoo-nsga3": nsga3,
    "uniform-grid": grid,
    "fixed-ratio": fixed_ratio,
}
