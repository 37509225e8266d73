"""Whether a search by FLOPs finds what a search by latency, or by energy, would find.

``python -m benchmarks.hardware --json [--victim NAME --weights FILE|random --data NAME --images N --policies N]``

So many policies, evenly over the search's space, are measured in FLOPs, tokens, accuracy (where the victim has a task)
and leakage as a search measures them, and timed: each repetition times all of them in turn, in an order of its own, and
a policy's latency is the median over repetitions. Energy is the processor's counter over the same encodings; without a
counter it is *not measured*.

The answer is a rank correlation, and what a user loses who chooses the front by one of the two and is judged by the
other: one minus the hypervolume of the front that was chosen without it over that of the front chosen by it.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from scipy.stats import spearmanr
from torch import Tensor
from torch.quasirandom import SobolEngine

from atm.errors import unknown
from atm.policy import MergePolicy
from audit.joules import joules
from audit.pareto.config import SearchConfig
from audit.pareto.front import Frame, front, hypervolume
from audit.pareto.objectives import OBJECTIVES
from audit.pareto.problem import PolicyProblem
from audit.pareto.run import make_problem
from audit.pareto.trials import Trial
from benchmarks.command import Parser, positive, run

COSTS = ("latency", "energy")


def policies(problem: PolicyProblem, count: int) -> list[MergePolicy]:
    """Both ends of the space, and as many others evenly in between."""
    depth = problem.space.depth
    units = [[0.0] * depth, [1.0] * depth, *SobolEngine(depth, scramble=True, seed=1).draw(count - 2).double().tolist()]
    return [MergePolicy(problem.space.thresholds(unit)) for unit in units]


@torch.no_grad()
def timed(problem: PolicyProblem, chosen: Sequence[MergePolicy], images: Tensor, repeats: int) -> dict[str, np.ndarray]:
    """Milliseconds and, where they are counted, millijoules of each policy per image and repetition."""
    encoder = problem.setting.encoder
    found = {name: np.full((repeats, len(chosen)), np.nan) for name in COSTS}
    for repeat in range(repeats + 1):  # the first one warms up
        for number in np.random.default_rng(repeat).permutation(len(chosen)):
            used, begun = joules(), time.perf_counter()
            encoder(images, chosen[number])
            seconds, more = time.perf_counter() - begun, joules()
            if repeat:
                found["latency"][repeat - 1, number] = 1e3 * seconds / len(images)
                if used is not None and more is not None and more >= used:
                    found["energy"][repeat - 1, number] = 1e3 * (more - used) / len(images)
    return found


def lost(values: Mapping[str, np.ndarray], others: Sequence[str], asked: str, judged: str) -> float:
    """The part of the hypervolume, with one cost, that the front chosen by another cost does not reach."""
    count = len(values[asked])
    trials = [
        Trial(number, (), "", "", {name: float(own[number]) for name, own in values.items()}) for number in range(count)
    ]
    names = [*others, judged]
    frame = Frame.of([OBJECTIVES[name] for name in names], trials)
    volumes = [
        hypervolume(frame.points(front(trials, [OBJECTIVES[name] for name in (*others, by)]))) for by in (asked, judged)
    ]
    return 1 - volumes[0] / volumes[1]


def compare(config: SearchConfig, count: int, timed_images: int, repeats: int) -> dict[str, object]:
    """One row: correlations and losses."""
    problem = make_problem(config, rounds=1)
    chosen = policies(problem, count)
    measured = [problem.measure(policy).values for policy in chosen]
    values = {name: np.array([each[name] for each in measured]) for name in measured[0]}
    costs = timed(problem, chosen, problem.images[:timed_images], repeats)
    row: dict[str, object] = {"victim": config.victim, "policies": count, "images": len(problem.images)}
    row |= {"timed_images": min(timed_images, len(problem.images)), "repeats": repeats}
    row["gflops"] = [float(values["gflops"].max()), float(values["gflops"].min())]
    others = [name for name in values if name != "gflops"]
    for name, own in costs.items():
        if np.isnan(own).all():
            row[name] = "not measured: no counter can be read"
            continue
        values[name] = np.nanmedian(own, 0)
        halves = [np.nanmedian(own[part::2], 0) for part in (0, 1)]
        row[name] = {
            "unmerged and most merging": [float(values[name][0]), float(values[name][1])],
            "spearman with FLOPs": float(spearmanr(values["gflops"], values[name]).statistic),
            "spearman of two halves of the repetitions": float(spearmanr(*halves).statistic),
            "lost in it by the front for FLOPs": lost(values, others, "gflops", name),
            "lost in FLOPs by the front for it": lost(values, others, name, "gflops"),
            "lost by one half's front in the other": lost(
                {**values, "latency": halves[0], "energy": halves[1]}, others, "energy", "latency"
            ),
        }
    return row


def random_weights(name: str, folder: Path) -> str:
    """A file with the weights that timm draws for a model before it is trained; raises `AtmError` for no model."""
    if not timm.is_model(name):
        raise unknown("timm model", name, timm.list_models())
    torch.manual_seed(0)
    path = folder / f"{name}.safetensors"
    save_file(timm.create_model(name).state_dict(), path)
    return str(path)


def main() -> None:
    """The command line."""
    parser = Parser("hardware", __doc__)
    parser.add_argument("--json", action="store_true", help="one line")
    parser.add_argument("--victim", default="vit_photos", help="as in atm search")
    parser.add_argument("--weights", help="as in atm search, or random for a timm model that is not trained")
    parser.add_argument("--data", default="photos", help="as in atm search")
    parser.add_argument(
        "--objectives", nargs="*", default=["accuracy", "gflops", "tokens", "leakage"], help="as in atm search"
    )
    parser.add_argument("--images", type=positive, default=200, help="that each policy is evaluated on")
    parser.add_argument("--policies", type=positive, default=50, help="that are compared, 4 or more")
    parser.add_argument("--timed-images", type=positive, default=16, help="that each policy is timed on")
    parser.add_argument("--repeats", type=positive, default=10, help="of the timing; the median counts")
    asked = parser.parse_args()
    if asked.policies < 4 or asked.repeats < 2:
        parser.error(f"--policies {asked.policies} and --repeats {asked.repeats} must be at least 4 and 2")
    warnings.filterwarnings("ignore")
    with TemporaryDirectory() as folder:
        drawn = asked.weights == "random"
        config = SearchConfig(
            victim=asked.victim,
            weights=random_weights(asked.victim, Path(folder)) if drawn else asked.weights,
            data=asked.data,
            images=asked.images,
            objectives=tuple(asked.objectives),
        )
        row = compare(config, asked.policies, asked.timed_images, asked.repeats)
    print(json.dumps(row, indent=None if asked.json else 2))


if __name__ == "__main__":
    run(main)
