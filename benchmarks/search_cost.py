"""What the search itself costs: its own time per evaluation, and how much faster more workers make it.

``python -m benchmarks.search_cost --json [--only overhead|workers]``

Both run the ordinary loop over an analytic problem (four objectives, six layers), so that nothing but the search is
measured. Overhead is CPU time of the whole process over the last 20 evaluations before each count, fits included; the
problem itself takes microseconds. Workers: evaluations that wait for ``--pause`` seconds, on a local Ray cluster; they
need no processor, so that more workers than cores show what the driver can feed.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from atm.policy import MergePolicy
from audit.pareto.config import SearchConfig
from audit.pareto.execution import Executor, InProcess, OnRay
from audit.pareto.run import explore, open_folder
from audit.pareto.space import Space
from audit.pareto.trials import Measured
from benchmarks.command import Parser, positive, run
from benchmarks.rows import stream

LAYERS = 6
WINDOW = 20


class Analytic:
    """Late layers cost accuracy, early ones buy compute and privacy; every trade-off is smooth and none is linear."""

    def __init__(self, pause: float = 0.0) -> None:
        self.space, self.pause = Space.plain(LAYERS, 0.0), pause

    def effect(self, policy: MergePolicy) -> str:
        """Every policy differs."""
        return str(policy.thresholds)

    def measure(self, policy: MergePolicy, number: int = 0) -> Measured:
        """Closed forms of the thresholds, after the pause."""
        time.sleep(self.pause)
        merged = [1 - threshold for threshold in policy.thresholds]
        left = [math.exp(-sum(merged[: layer + 1])) for layer in range(LAYERS)]
        loss = sum((layer + 1) * merged[layer] ** 2 for layer in range(LAYERS)) / 40
        values = {
            "accuracy": 0.95 - loss,
            "gflops": 0.2 * sum(left),
            "tokens": 1 + 64 * left[-1],
            "leakage": 0.3 + 0.4 * left[1] * (0.5 + 0.5 * left[-1]),
        }
        return Measured(values, dict.fromkeys(values, 1e-6))


def overheads(counts: Sequence[int], seed: int) -> Iterator[dict[str, float]]:
    """Own seconds per evaluation just before each count, and since the first."""
    stamps = [time.process_time()]
    _search(max(counts), seed, InProcess(Analytic()), stamps)
    for count in counts:
        window = min(WINDOW, count)
        yield {
            "evaluations": count,
            "seconds_per_evaluation": (stamps[count] - stamps[count - window]) / window,
            "seconds_in_all": stamps[count] - stamps[0],
        }


def workers(counts: Sequence[int], evals: int, pause: float, seed: int) -> Iterator[dict[str, float]]:
    """Wall time of a search with so many Ray workers, and how many times faster that is than the first count."""
    import ray

    first: float | None = None
    for count in counts:
        ray.init("local", num_cpus=count, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        try:
            ray.get([ray.remote(_idle).remote() for _ in range(2 * count)])  # starts the worker processes
            begun = time.perf_counter()
            _search(evals, seed, OnRay(partial(Analytic, pause)), [])
            seconds = time.perf_counter() - begun
        finally:
            ray.shutdown()
        first = first or seconds
        speedup = first / seconds * counts[0]
        yield {
            "workers": count,
            "evaluations": evals,
            "pause": pause,
            "seconds": seconds,
            "speedup": speedup,
            "of_linear": speedup / count,
        }


def _idle() -> None:
    time.sleep(0.5)


def _search(evals: int, seed: int, executor: Executor, stamps: list[float]) -> None:
    config = SearchConfig(evals=evals, seed=seed)

    def say(line: str) -> None:
        if line.startswith("["):
            stamps.append(time.process_time())

    with TemporaryDirectory() as folder, open_folder(Path(folder) / "run", config, False, False) as store:
        explore(Analytic(), config, store, executor, say)


def main() -> None:
    """The command line."""
    parser = Parser("search_cost", __doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.add_argument("--only", choices=["overhead", "workers"], help="one part; default: both")
    parser.add_argument(
        "--evaluations", nargs="+", type=positive, default=[64, 256, 1000], help="after which the overhead is told"
    )
    parser.add_argument("--workers", nargs="+", type=positive, default=[1, 2, 4, 8], help="numbers of them")
    parser.add_argument("--evals", type=positive, default=48, help="of a search on workers")
    parser.add_argument("--pause", type=float, default=2.0, help="seconds that an evaluation on a worker takes")
    parser.add_argument("--seed", type=int, default=0, help="of the search")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.only != "workers":
        stream(overheads(asked.evaluations, asked.seed), asked.json, _line)
    if asked.only != "overhead":
        stream(workers(asked.workers, asked.evals, asked.pause, asked.seed), asked.json, _line)


def _line(row: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in row.items())


if __name__ == "__main__":
    run(main)
