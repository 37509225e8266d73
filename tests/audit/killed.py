"""A process whose commands are killed: ``python -m tests.audit.killed FOLDER SETTINGS SEED KILLS WORD...``.

First ``atm WORD... --out FOLDER/whole`` runs undisturbed. Then the same into ``FOLDER/killed`` is killed by SIGKILL,
which no handler sees, when a random part of what the first one wrote is there, a random moment later; and goes on with
``--resume`` until the next kill, and in the end undisturbed. Commands are forked from a process that has everything
imported. Prints a line for each kill: whether it came before the file SETTINGS was there.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import audit.compare
import audit.evaluate
import audit.pareto.proposer
import audit.pareto.run
import audit.sweep  # noqa: F401  so that children are forked with all of it
from audit import cli
from tests.audit.conftest import cli_metrics


def command(words: list[str], out: Path, settings: str) -> int:
    """Start it in a child, which goes on with what is there."""
    child = os.fork()
    if child:
        return child
    sys.argv = ["atm", *words, "--out", str(out), *(["--resume"] if (out / settings).exists() else [])]
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    try:
        cli.main()
    except SystemExit as stop:
        os._exit(int(stop.code or 0))
    finally:
        os._exit(0)


def ended(child: int) -> None:
    """Wait for one that nobody kills."""
    _, status = os.waitpid(child, 0)
    if status:
        sys.exit(f"it ended with {os.waitstatus_to_exitcode(status)}")


def written(folder: Path) -> int:
    """Bytes of all files in it, of which any may go while they are counted."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.stat(os.path.join(root, name)).st_size
    return total


def killed_at(child: int, folder: Path, size: float, later: float) -> bool:
    """Kill it so many seconds after the folder has a size; whether it was still there to be killed."""
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None and written(folder) < size:
        time.sleep(0.002)
    time.sleep(later)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def main(folder: Path, settings: str, seed: int, kills: int, words: list[str]) -> None:
    moments = random.Random(seed)
    ended(command(words, folder / "whole", settings))
    whole = written(folder / "whole")
    for kill in range(kills):
        child = command(words, folder / "killed", settings)
        part = (kill + moments.random()) / (kills + 1)  # each further on than the one before, none at the very end
        killed = killed_at(child, folder / "killed", part * whole, moments.uniform(0, 0.05))
        there = (folder / "killed" / settings).exists()
        print("killed" if killed else "ended", "in the middle" if there else "early")
    ended(command(words, folder / "killed", settings))


if __name__ == "__main__":
    for target in ("privacy_metrics.registry", "audit.notes"):
        sys.modules[target].METRICS = {name: cli_metrics()[name] for name in ("ssim", "psnr")}  # type: ignore[attr-defined]
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
