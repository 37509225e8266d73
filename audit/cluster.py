"""Jobs on a Ray cluster. Ray is an optional extra; nothing else needs it.

Every job is a task of its own for one processor, and one GPU where it computes there. A worker process loads at its
first task what all of them need, and keeps it. Where a node dies, Ray repeats its running tasks on the others; what has
come back is the driver's, which writes it to disk.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Generic, TypeVar

import atm.device
from atm.errors import AtmError, one_line
from audit.system import System
from privacy_metrics.extras import extra

LOCAL = "local"
RETRIES = 5  # of one task whose node or process dies
_states: dict[str, Any] = {}  # of this worker process

C = TypeVar("C", bound=System)
S = TypeVar("S")  # what jobs need
J = TypeVar("J")  # a job
R = TypeVar("R")  # what comes of it


@contextmanager
def connected(address: str | None, device: str = "cpu") -> Iterator[None]:
    """Join the cluster at an address (``local``: a new one of this machine's processors), and leave it at the end.

    Args:
        address: None where there is nothing to join. Who has joined a cluster before stays there.
        device: where jobs will compute, see `atm.device.resolve`.

    Raises:
        AtmError: Ray is not installed, there is no cluster at that address, or jobs need a GPU and it has none.
    """
    if not address:
        yield
        return
    try:
        import ray
    except ImportError:
        raise AtmError(f"--ray needs Ray; {extra('ray')}") from None
    if ray.is_initialized():
        _see(device)
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address == LOCAL:
            ray.init("local", num_cpus=os.cpu_count(), include_dashboard=False, **quiet)
        else:
            _knock(address)
            ray.init(address=address, **quiet)
    except (OSError, ValueError, RuntimeError, ImportError, OverflowError) as error:
        raise AtmError(f"--ray {address}: no Ray cluster answers there: {' '.join(str(error).split())[:200]}") from None
    try:
        _see(device)
        yield
    finally:
        ray.shutdown()


def _see(device: str) -> None:
    import ray

    if atm.device.resolve(device).type == "cuda" and not ray.cluster_resources().get("GPU"):
        raise AtmError(f"--device {device}: the Ray cluster has no GPU; give --device cpu")


def _knock(address: str) -> None:
    """Raise ``OSError`` where nothing listens, which Ray itself finds out after minutes only."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=5).close()


def placed(config: C) -> C:
    """A configuration as workers have it: Ray shows each of them one GPU, whose number here means nothing there.

    Raises:
        AtmError: its device is not there.
    """
    return replace(config, device=atm.device.resolve(config.device).type)


class Jobs(Generic[S, J, R]):
    """Runs as many jobs at a time as the cluster has processors, or GPUs. Use it within `connected`.

    Args:
        make: loads what jobs need, on each worker.
        work: does one job with it.
        device: where jobs compute, from `placed`.
    """

    def __init__(self, make: Callable[[], S], work: Callable[[S, J], R], device: str = "cpu") -> None:
        import ray

        self._ray, self._gpu = ray, device == "cuda"
        self._key, self._load, self._work = uuid.uuid4().hex, ray.put(make), ray.put(work)
        # Ray would end a process that had a GPU after each task, and all that it had loaded with it.
        options: dict[str, Any] = {
            "num_cpus": 1, "num_gpus": int(self._gpu), "max_retries": RETRIES, "max_calls": 0
        }  # fmt: skip
        self._task: Any = ray.remote(**options)(_work)
        self._running: dict[Any, J] = {}

    @property
    def capacity(self) -> int:
        """How many jobs the nodes that are alive can run at a time."""
        there = self._ray.cluster_resources()
        return max(1, int(min(there.get(kind, 1) for kind in ("CPU", *["GPU"] * self._gpu))))

    def start(self, job: J) -> None:
        """Hand a job to the cluster."""
        self._running[self._task.remote(self._key, self._load, self._work, os.getcwd(), job)] = job

    def finish(self) -> tuple[J, R | AtmError]:
        """Wait for any job to end.

        Returns:
            The job, and what came of it: why it failed where it did, or where its processes died again and again.
        """
        while not (done := self._ended(1.0)):
            pass
        job = self._running.pop(done[0])
        try:
            result: R = self._ray.get(done[0])
            return job, result
        except self._ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None) or error  # without Ray's own trace
            return job, cause if isinstance(cause, AtmError) else AtmError(one_line(cause)[:300])

    def close(self) -> None:
        """Stop whatever runs."""
        for task in self._running:
            self._ray.cancel(task, force=True)
        self._running.clear()

    def results(self, jobs: Iterable[J]) -> Iterator[tuple[J, R]]:
        """Run jobs and give each with its result as they end; the first begin while further jobs are thought of.

        Raises:
            AtmError: a job failed; whatever runs then is stopped.
        """
        try:
            for job in jobs:
                self.start(job)
                while self._ended(0.0):
                    yield self._good()
            while self._running:
                yield self._good()
        finally:
            self.close()

    def _good(self) -> tuple[J, R]:
        job, result = self.finish()
        if isinstance(result, AtmError):
            raise result
        return job, result

    def _ended(self, seconds: float) -> list[Any]:
        """A task that has ended, if one does so within some seconds; short ones let Ctrl-C through."""
        return list(self._ray.wait(list(self._running), num_returns=1, timeout=seconds)[0]) if self._running else []


class Agreement:
    """What workers have to agree on: the first answer to a question holds for all of them.

    It is kept beside the driver, so that it dies with no other node.
    """

    def __init__(self) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        options: dict[str, Any] = {"num_cpus": 0, "scheduling_strategy": here}
        self._kept: Any = ray.remote(**options)(_Kept).remote()

    def __call__(self, question: str, answer: int) -> int:
        """The answer that holds: this one, unless another was first."""
        import ray

        return int(ray.get(self._kept.first.remote(question, answer)))


class _Kept:
    def __init__(self) -> None:
        self._answers: dict[str, int] = {}

    def first(self, question: str, answer: int) -> int:
        return self._answers.setdefault(question, answer)


def _work(key: str, make: Callable[[], Any], work: Callable[[Any, Any], Any], where: str, job: Any) -> Any:
    if key not in _states:
        if os.path.isdir(where):  # names of files mean what they mean to the driver, where nodes share its file system
            os.chdir(where)
        _states.clear()
        _states[key] = make()
    return work(_states[key], job)
