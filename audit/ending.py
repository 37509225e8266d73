"""How a command ends: at worst in one line on standard error and an exit code, never in a traceback."""

from __future__ import annotations

import os
import platform
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from types import FrameType
from typing import Any

import typer
from rich.markup import escape

from atm.errors import AtmError, StorageError, one_line
from atm.text import printable
from audit.options import console

BUG, BAD_INPUT, NOT_WRITTEN, STOPPED, NO_READER, TERMINATED = 1, 2, 3, 130, 141, 143
DEBUG = "--debug"


def ended(command: Callable[[], Any], words: list[str], again: Callable[[], str] = str) -> int:
    """Run a command and say in one line what stopped it.

    Args:
        command: without arguments; what it returns is its exit code, None for 0.
        words: of the command line, for the log of a bug; ``--debug`` among them lets every error through.
        again: gives the command line that goes on with it, for whoever stopped it; empty where nothing can be gone on
            with.

    Returns:
        0, 1 for a bug of ours, 2 for bad input, 3 for what could not be written, 130 for Ctrl-C, 141 for output that
        nobody reads any more, 143 for SIGTERM.
    """
    code: Any
    try:
        with _terminable():
            code = command()
    except (typer.Abort, KeyboardInterrupt):
        code = STOPPED
    except SystemExit as stop:
        code = TERMINATED if stop.code == signal.SIGTERM else stop.code
    except Exception as error:
        if DEBUG in words:
            raise
        code, line = _told(error, words)
        if line:
            console.print(f"[red]error:[/] {escape(printable(line))}", soft_wrap=True)
        return code
    if code in (STOPPED, TERMINATED):  # typer turns Ctrl-C into the first
        what = "stopped" if code == STOPPED else "ended by SIGTERM"
        onward = again()
        console.print(escape(printable(f"{what}; go on with: {onward}" if onward else what)), soft_wrap=True)
    return int(code or 0)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends what runs as an error does, so that files are closed and locks given back; as Ray has it, too."""

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _told(error: Exception, words: list[str]) -> tuple[int, str]:
    """Exit code and line for an error."""
    if isinstance(error, typer.TyperException):
        return BAD_INPUT, " ".join(error.format_message().split()) or "give a command; see atm --help"
    if isinstance(error, AtmError):
        return NOT_WRITTEN if isinstance(error, StorageError) else BAD_INPUT, str(error)
    if isinstance(error, BrokenPipeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor does Python write at its end
        return NO_READER, ""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # of torch, which may be unloaded
        return BAD_INPUT, f"out of memory ({one_line(error)[:120]}); give fewer --images or --auxiliary pictures"
    if isinstance(error, OSError):
        where = f" {error.filename}" if error.filename else ""
        return NOT_WRITTEN, f"the system refused{where}: {error.strerror or error}"
    log = _logged(error, words)
    return BUG, f"this is a bug of atm ({one_line(error)[:200]}); please report it with {log}, which holds the trace"


def _logged(error: Exception, words: list[str]) -> str:
    """A file with the trace, the command and the versions; or why there is none."""
    try:
        installed = version("atm-privacy")
    except PackageNotFoundError:
        installed = "unknown"
    lines = [f"atm {installed}, Python {platform.python_version()}, {platform.platform()}", f"words: {words!r}", ""]
    text = "\n".join(lines) + "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="atm-", suffix=".log", delete=False, errors="replace") as file:
            file.write(text)
    except OSError:
        return f"what {DEBUG} prints"
    return file.name
