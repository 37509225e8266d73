"""The search against what people would use instead, and the cheap privacy score against the full suite.

``python -m benchmarks.search --json [--only hypervolume|privacy-score]``

Every method calls the same objective function: a victim on ``--images`` pictures of its data, evaluated
anew for each policy (about half a second) and remembered by thresholds. Hypervolume is measured for all methods in one
frame: from the worst of the unmerged policy, the most merging one and 30 Sobol policies, moved on by a tenth of their
range. Rivals choose thresholds in [0.3, 1]; our search does too, through its own map.

The objective function is the same for all, and noisy, because the pictures are few: a policy that is lucky on them
looks good. So methods are judged by what a user gets: the front that each ends with is measured again on other pictures
of the same data and with another adversary, and ``held_out_hypervolume`` on its last row is what it was really worth.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch.quasirandom import SobolEngine

from atm.policy import MergePolicy
from audit.evaluate import attack
from audit.pareto.config import SearchConfig
from audit.pareto.execution import InProcess
from audit.pareto.front import Frame, curve, front
from audit.pareto.objectives import Objective
from audit.pareto.problem import PolicyProblem
from audit.pareto.run import explore, make_problem, open_folder
from audit.pareto.trials import Measured, Trial
from reports.run import Run

Choose = Callable[["Remembering", int, int], None]


class Remembering:
    """A problem that evaluates no policy twice over all methods, and keeps what one method asked for, in order."""

    def __init__(self, problem: PolicyProblem, lowest: float, objectives: Sequence[Objective]) -> None:
        self.problem, self.space, self.lowest, self.objectives = problem, problem.space, lowest, objectives
        self.known: dict[tuple[object, ...], Measured] = {}
        self.forget()

    def forget(self) -> None:
        """What was asked for, not what is known."""
        self.asked: list[Trial] = []
        self.policies: list[MergePolicy] = []
        self.evaluating = 0.0

    def effect(self, policy: MergePolicy) -> str:
        """The problem's own."""
        return self.problem.effect(policy)

    def measure(self, policy: MergePolicy) -> Measured:
        """From memory, if any method asked for it before."""
        key = (policy.thresholds, policy.remove)
        if key not in self.known:
            begun = time.perf_counter()
            self.known[key] = self.problem.measure(policy)
            self.evaluating += time.perf_counter() - begun
        measured = self.known[key]
        self.asked.append(Trial(len(self.asked), policy.thresholds, "", "", measured.values, measured.noise))
        self.policies.append(policy)
        return measured

    def costs(self, unit: Sequence[float]) -> list[float]:
        """Objectives to be minimised at a point of the unit cube of thresholds, as rivals see it."""
        thresholds = tuple(round(self.lowest + float(u) * (1 - self.lowest), 4) for u in unit)
        values = self.measure(MergePolicy(thresholds)).values
        return [-o.sign * values[o.name] for o in self.objectives]


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
    """Every whole number of tokens that ToMe can remove in each layer; there are no more such policies."""
    rows, columns = problem.problem.setting.encoder.patch_grid
    for remove in range(min(evals, rows * columns // 2 + 1)):
        problem.measure(MergePolicy.fixed_ratio(remove, problem.space.depth))


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


def hypervolumes(
    config: SearchConfig, seeds: Sequence[int], methods: Sequence[str], held_out: int
) -> Iterator[dict[str, object]]:
    """Rows as they come, seed after seed, so that one that is cut off still compares all methods."""
    evals = config.evals
    objectives = config.asked()[0]
    problem = Remembering(make_problem(config), config.lowest, objectives)
    frame = _frame(problem)
    if held_out:
        others = make_problem(replace(config, images=held_out, seed=config.seed + 1))
        again = Remembering(others, config.lowest, objectives)
        again_frame = _frame(again)
    for seed in seeds:
        for method in methods:
            problem.forget()
            begun = time.perf_counter()
            METHODS[method](problem, evals, seed)
            own = time.perf_counter() - begun - problem.evaluating
            found = problem.asked[:evals]
            volumes = curve(found, frame)
            for count, volume in enumerate(volumes, 1):
                row = {"method": method, "seed": seed, "evaluations": count, "hypervolume": volume, "seconds": own}
                if held_out and count == len(volumes):
                    again.forget()
                    for trial in front(found, objectives):
                        again.measure(problem.policies[trial.number])
                    row["held_out_hypervolume"] = curve(again.asked, again_frame)[-1]
                yield {"victim": config.victim, **row}


def _frame(problem: Remembering) -> Frame:
    depth = problem.space.depth
    for unit in [[1.0] * depth, [0.0] * depth, *SobolEngine(depth, scramble=True, seed=999).draw(30).tolist()]:
        problem.costs(unit)
    return Frame.of(problem.objectives, problem.asked)


def privacy_score(config: SearchConfig, policies: int, attacks: Sequence[str], quick: bool) -> dict[str, object]:
    """Rank correlation of the cheap score with the suite from scratch, and its cost over that of accuracy."""
    problem = make_problem(config)
    units = SobolEngine(problem.space.depth, scramble=True, seed=1).draw(policies - 2).double().tolist()
    ends = [[0.0] * problem.space.depth, [1.0] * problem.space.depth]
    thresholds = [problem.space.thresholds(unit) for unit in [*ends, *units]]
    cheap, ratios = [], []
    for values in thresholds:
        link = problem.setting.link(MergePolicy(values))
        begun = time.perf_counter()
        transmission = link.transmit(problem.images, 1)
        sent = time.perf_counter()
        cheap.append(float(problem.privacy.score(link, transmission, 2).mean()))
        ratios.append((time.perf_counter() - sent) / (sent - begun))
    with TemporaryDirectory() as folder:
        files = []
        for number, values in enumerate(thresholds):
            files.append(str(Path(folder) / f"policy-{number:02d}.yaml"))
            MergePolicy(values, name=f"policy-{number:02d}").write(files[-1])
        begun = time.perf_counter()
        full_suite = config.attack(policies=tuple(files), attacks=tuple(attacks), quick=quick)
        run: Run = attack(full_suite, Path(folder) / "run")
        suite = (time.perf_counter() - begun) / policies
        full = [float(run.worst_case(f"policy-{number:02d}").mean()) for number in range(policies)]
    return {
        "victim": config.victim,
        "threat": config.threat,
        "policies": policies,
        "images": config.images,
        "quick": quick,
        "attacks": list(run.attacks),
        "spearman": float(spearmanr(cheap, full).statistic),
        "cost_ratio": float(np.median(ratios)),
        "suite_seconds_per_policy": suite,
    }


def table(rows: list[dict[str, object]]) -> str:
    """Final hypervolumes, and how many evaluations our median needs for the best rival's final median."""
    lines = ["method          lower quartile   median   upper quartile   own seconds   on other pictures: quartiles"]
    finals: dict[str, float] = {}
    for method in dict.fromkeys(str(row["method"]) for row in rows):
        own = [row for row in rows if row["method"] == method]
        last = max(int(str(row["evaluations"])) for row in own)
        final = [float(str(row["hypervolume"])) for row in own if row["evaluations"] == last]
        low, finals[method], high = np.quantile(final, [0.25, 0.5, 0.75])
        seconds = np.median([float(str(row["seconds"])) for row in own if row["evaluations"] == last])
        again = [float(str(row["held_out_hypervolume"])) for row in own if "held_out_hypervolume" in row]
        told = "   {:.4f} {:.4f} {:.4f}".format(*np.quantile(again, [0.25, 0.5, 0.75])) if again else ""
        lines.append(f"{method:15} {low:14.4f} {finals[method]:8.4f} {high:16.4f} {seconds:13.1f}{told}")
    rivals = {method: value for method, value in finals.items() if method != "ours"}
    if "ours" in finals and rivals:
        best = max(rivals, key=lambda method: rivals[method])
        by_count: dict[int, list[float]] = {}
        for row in rows:
            if row["method"] == "ours":
                by_count.setdefault(int(str(row["evaluations"])), []).append(float(str(row["hypervolume"])))
        reached = next((n for n, v in sorted(by_count.items()) if np.median(v) >= rivals[best]), None)
        lines.append(f"ours reaches the final median of {best} after {reached} evaluations")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=["hypervolume", "privacy-score"])
    parser.add_argument("--victim", default="vit_photos", help="as in atm search")
    parser.add_argument("--data", default="photos", help="as in atm search")
    parser.add_argument("--evals", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0, help="to spread the seeds over processes")
    parser.add_argument("--held-out", type=int, default=200, help="other pictures to measure the final fronts on again")
    parser.add_argument("--threat", default="server", help="as in atm search")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--policies", type=int, default=24)
    parser.add_argument("--auxiliary", type=int, default=4000)
    parser.add_argument("--method", nargs="*", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--quick", action="store_true", help="the full suite with the few steps of atm attack --quick")
    parser.add_argument("--attack", nargs="*", default=[], help="attacks of the full suite; all by default")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.manual_seed(0)
    config = SearchConfig(
        victim=asked.victim,
        data=asked.data,
        threat=asked.threat,
        evals=asked.evals,
        images=asked.images,
        auxiliary=asked.auxiliary,
    )
    if asked.only != "privacy-score":
        rows: list[dict[str, object]] = []
        seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
        for row in hypervolumes(config, seeds, asked.method, asked.held_out):
            rows.append(row)
            if asked.json:
                print(json.dumps(row), flush=True)
        if not asked.json:
            print(table(rows))
    if asked.only != "hypervolume":
        print(json.dumps(privacy_score(config, asked.policies, asked.attack, asked.quick)))


if __name__ == "__main__":
    main()
