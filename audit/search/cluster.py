"""Evaluations, and the full suite's attacks, on a Ray cluster. Ray is an optional extra; nothing else needs it.

Every evaluation is a task of its own for one processor. A worker process loads the problem at its first task and keeps
it. Where a node dies, Ray repeats its running tasks on the others; whatever had finished is on the driver's disk.
"""

from __future__ import annotations

import io
import os
import shutil
import socket
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atm.errors import AtmError
from atm.policy import MergePolicy
from audit.configs import AttackConfig
from audit.evaluate import attack
from audit.search.execution import Result, evaluate
from audit.search.problem import Problem

LOCAL = "local"
RETRIES = 5  # of one task whose node or process dies
_problems: dict[str, Problem] = {}  # of this worker process


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Join the cluster at an address (``local``: a new one of this machine's processors), and leave it at the end.

    Raises:
        AtmError: Ray is not installed, or there is no cluster at that address.
    """
    try:
        import ray
    except ImportError:
        raise AtmError("--ray needs Ray; install it with: pip install 'atm-privacy[ray]'") from None
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address == LOCAL:
            ray.init("local", num_cpus=os.cpu_count(), include_dashboard=False, **quiet)
        else:
            _knock(address)
            ray.init(address=address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        raise AtmError(f"--ray {address}: no Ray cluster answers there: {' '.join(str(error).split())[:200]}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise ``OSError`` where nothing listens, which Ray itself finds out after minutes only."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=5).close()


class OnRay:
    """Runs as many evaluations at a time as the cluster has processors. Use it within `connected`.

    Args:
        key: identifies the problem to workers that have loaded one before.
        make: loads the problem, on each worker.
    """

    def __init__(self, key: str, make: Callable[[], Problem]) -> None:
        import ray

        self._ray = ray
        self._key, self._make = key, ray.put(make)
        self._task = ray.remote(num_cpus=1, max_retries=RETRIES)(_evaluate)
        self._running: dict[Any, int] = {}

    @property
    def capacity(self) -> int:
        """Processors of the nodes that are alive."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def start(self, number: int, policy: MergePolicy) -> None:
        """Hand it to the cluster."""
        self._running[self._task.remote(self._key, self._make, os.getcwd(), number, policy)] = number

    def finish(self) -> Result:
        """Wait for any to end; one whose processes died again and again has failed."""
        while True:
            done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=1)
            if done:
                break
        number = self._running.pop(done[0])
        try:
            return self._ray.get(done[0])
        except self._ray.exceptions.RayError as error:
            return Result(number, None, f"the cluster lost it: {_cause(error)}", 0.0)

    def close(self) -> None:
        """Stop whatever runs."""
        for task in self._running:
            self._ray.cancel(task, force=True)
        self._running.clear()


def attack_apart(configs: Sequence[AttackConfig], folders: Sequence[Path], say: Callable[[str], None]) -> None:
    """Attack on the cluster, each configuration as a task of its own whose run folder comes back whole.

    Folders that are there already are kept, so that an interrupted call can be repeated.

    Raises:
        AtmError: an attack failed.
    """
    import ray

    task = ray.remote(num_cpus=1, max_retries=RETRIES)(_attack)
    waiting = {
        task.remote(config, os.getcwd()): folder
        for config, folder in zip(configs, folders, strict=True)
        if not (folder / "report.html").exists()
    }
    total = len(waiting)
    while waiting:
        done, _ = ray.wait(list(waiting), num_returns=1, timeout=1)
        for finished in done:
            folder = waiting.pop(finished)
            try:
                _unpack(ray.get(finished), folder)
            except ray.exceptions.RayError as error:
                raise AtmError(f"the attack for {folder.name} failed: {_cause(error)}") from None
            say(f"[{total - len(waiting)}/{total}] {folder.name}")


def _cause(error: Exception) -> str:
    """What went wrong on the worker, in a line, without Ray's own trace."""
    cause = getattr(error, "cause", None) or error
    return " ".join(f"{type(cause).__name__}: {cause}".split())[:300]


def _evaluate(key: str, make: Callable[[], Problem], where: str, number: int, policy: MergePolicy) -> Result:
    if key not in _problems:
        _enter(where)
        _problems.clear()
        _problems[key] = make()
    return evaluate(_problems[key], number, policy)


def _attack(config: AttackConfig, where: str) -> bytes:
    _enter(where)
    with tempfile.TemporaryDirectory() as folder:
        attack(config, Path(folder) / "run")
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for path in sorted((Path(folder) / "run").rglob("*")):
                archive.write(path, path.relative_to(Path(folder) / "run"))
        return packed.getvalue()


def _unpack(packed: bytes, folder: Path) -> None:
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(partial)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def _enter(where: str) -> None:
    """Relative names of data and weights mean what they mean to the driver, where nodes share its file system."""
    if os.path.isdir(where):
        os.chdir(where)
