"""What a command is doing: a line that moves in a terminal, one every ten seconds where there is none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress as Bars
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from atm.text import printable
from audit.options import console

EVERY = 10.0  # seconds between two lines where there is no terminal


class Progress:
    """Says what is going on, from the first moment on; to be called with a line.

    Args:
        first: the line until the first call.
        kept: whether a line stays to be read, in yellow, since it tells of what was skipped or failed.
        to: where it says so.
        every: seconds between two lines where there is no terminal.
    """

    def __init__(
        self,
        first: str = "loading",
        kept: Callable[[str], bool] = lambda line: False,
        to: Console = console,
        every: float = EVERY,
    ) -> None:
        self._line, self._kept, self._console, self._every = printable(first), kept, to, every
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self._bars = Bars(*columns, console=to, transient=True) if to.is_terminal else None
        self._done, self._began = threading.Event(), time.monotonic()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Progress:
        if self._bars is not None:
            self._bars.start()
            self._task = self._bars.add_task(escape(self._line), total=None)
        else:
            self._console.print(escape(self._line), soft_wrap=True)
            self._thread.start()
        return self

    def __call__(self, line: str) -> None:
        """What is going on from now on."""
        self._line = printable(line)
        if self._kept(line):
            self._console.print(f"[yellow]{escape(self._line)}[/]", soft_wrap=True)
        if self._bars is not None:
            self._bars.update(self._task, description=escape(self._line))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        if self._bars is not None:
            self._bars.stop()
        else:
            self._thread.join()

    def _tick(self) -> None:
        while not self._done.wait(self._every):
            passed = time.monotonic() - self._began
            self._console.print(f"{passed:.0f} s: {escape(self._line)}", soft_wrap=True)
