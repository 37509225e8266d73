"""Commands as a user gives them, in this process, up to the moment at which they would begin to compute."""

from __future__ import annotations

import hashlib
import io
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

import audit.ending
import audit.selfcheck
import audit.train
import audit.train_placer
from atm.store import RunStore
from atm.victims import probe
from audit import cli
from tests.audit.conftest import cli_metrics

LIMIT = 300  # seconds, of which no command here needs more than two; one that hangs fails its test and not the machine
ACCEPTED = 0
REFUSED = (2, 3)
BESIDE = re.compile(r"(loading|warning: .*|skipped .*|pictures: .*|note: .*|\d+ s: .*|\[\d+/\d+\] .*)")


class Accepted(BaseException):
    """All that was given has been read and checked, and the slow part would begin."""


class Hung(BaseException):
    """A command took longer than `LIMIT`."""


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, `ACCEPTED` too where the slow part would have begun, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The line that says why."""
        return next((line for line in self.err.splitlines() if line.startswith("error:")), "")


def _accept(*_: Any, **__: Any) -> Any:
    raise Accepted


def _let_through(error: Exception, words: list[str]) -> Any:
    raise AssertionError(f"a bug of atm, with {words}") from error


@contextmanager
def gated(folder: Path) -> Iterator[None]:
    """Within it, no command computes, looks at the network, or reads what is not of this test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TORCH_HOME", "ATM_CACHE", "ATM_DATA", "HF_HOME"):
            patch.setenv(name, str(folder))
        patch.setenv("COLUMNS", "200")
        metrics = {name: cli_metrics()[name] for name in ("ssim", "psnr")}
        for where in ("privacy_metrics.registry", "audit.notes"):
            patch.setattr(f"{where}.METRICS", metrics)
        patch.setattr(RunStore, "begin", _accept)
        patch.setattr(audit.train, "train_victim", _accept)
        patch.setattr(audit.train, "train_codec", _accept)
        patch.setattr(audit.train_placer, "Session", _accept)
        patch.setattr(audit.train_placer, "FEWEST", 20)  # of the few pictures that there are here
        patch.setattr(probe, "fit", _accept)
        patch.setattr(audit.selfcheck, "selfcheck", _accept)
        patch.setattr(audit.selfcheck, "false_alarms", _accept)
        for where in ("sockets.network", "ear.Session", "profiling.profile", "watching.Page"):
            patch.setattr(f"audit.live.{where}", _accept)
        patch.setattr("audit.exporting.as_onnx", _accept)
        patch.setattr(audit.ending, "_logged", _let_through)
        patch.setattr("socket.socket.connect", _no_network)
        patch.setattr(cli, "app", typer.main.get_command(cli.app))  # which typer would make anew for every command
        yield


def _no_network(*_: Any) -> None:
    raise OSError("no network")


def run(words: list[str], folder: Path) -> Ended:
    """A command in a folder, its ways out counted and not followed."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # strict, as a user's is
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    before, argv = os.getcwd(), sys.argv
    old = signal.signal(signal.SIGALRM, _hung)
    try:
        os.chdir(folder)
        sys.argv = ["atm", *words]
        signal.alarm(LIMIT)
        with redirect_stdout(out), redirect_stderr(err):
            cli.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    except Accepted:
        code = ACCEPTED
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
        sys.argv = argv
        os.chdir(before)
    return Ended(code, _written(out), _written(err))


def _hung(*_: Any) -> None:
    raise Hung


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    return stream.buffer.getvalue().decode()  # type: ignore[attr-defined]


def state(folder: Path) -> dict[str, str]:
    """Everything under a folder, by name."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            what = f"-> {os.readlink(path)}"
        elif path.is_file():
            what = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            what = "folder" if path.is_dir() else "other"
        found[os.fsdecode(path.relative_to(folder))] = what
    return found


def check(words: list[str], folder: Path, must_refuse: bool = False, writes: str = "") -> Ended:
    """Run a command and hold its end against what must be true of all of them.

    Args:
        words: of the command line, paths relative to the folder.
        folder: to run it in, which holds all that it reads and may write.
        must_refuse: whether its input has no meaning.
        writes: a pattern of names that it may write where it is accepted.
    """
    before = state(folder)
    ended = run(words, folder)
    after = state(folder)
    told = f"{words}\nexit code {ended.code}\n{ended.err}"
    assert ended.code == ACCEPTED or ended.code in REFUSED, told
    assert "Traceback" not in ended.err + ended.out, told
    if ended.code in REFUSED:
        lines = [line for line in ended.err.splitlines() if not BESIDE.fullmatch(line)]
        assert len(lines) == 1 and lines[0].startswith("error: ") and len(lines[0]) > 20, told
        assert after == before, f"{told}\nchanged: {set(after.items()) ^ set(before.items())}"
    else:
        changed = {name for name, _ in set(after.items()) ^ set(before.items())}
        assert all(writes and re.match(writes, name) for name in changed), f"{told}\nwrote {changed}"
    assert not [name for name in after if ".partial" in name or ".writable" in name], told
    assert all(c.isprintable() or c == "\n" for c in ended.err), told
    assert ended.code in REFUSED or not must_refuse, f"accepted silently: {told}"
    return ended
