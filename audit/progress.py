"""What a command is doing: a bar that moves in a terminal, a line every ten seconds where there is none."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.status import Status
from rich.text import Text

from atm.text import printable
from audit.options import console
from audit.pace import Pace

EVERY = 10.0  # seconds between two lines where there is no terminal
COUNTED = re.compile(r"(?:(.*) )?\[([0-9]{1,9})/([0-9]{1,9})\] (.*)", re.DOTALL)  # how a line begins that says how far


def loading(to: Console = console) -> Status:
    """Says in a terminal, while it is entered, that libraries are loaded, which takes seconds; elsewhere nothing."""
    return to.status("loading")


class _Left(ProgressColumn):
    """What is left, told anew whenever the bar is drawn, and not only where a step begins."""

    def __init__(self, left: Callable[[], str]) -> None:
        super().__init__()
        self._told = left

    def render(self, task: Task) -> Text:
        """The column of the one bar that there is."""
        return Text(self._told())


class Progress:
    """Says what is going on, from the first moment on; to be called with a line.

    A line such as ``[3/12] ridge on none`` tells that the third step of twelve begins, and fills the bar. How long the
    rest takes is told from how long steps of its kinds took, which the first word behind the count names.

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
        self._before = self._total = 0  # steps
        self._pace = Pace()
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(20), TimeElapsedColumn(),
                   _Left(self.left))  # fmt: skip
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
        if found := COUNTED.fullmatch(line):
            self._before, self._total = int(found[2]) - 1, int(found[3])
            kind = found[4].partition(" ")[0]
            self._pace.step(kind, self._before + 1, self._total, time.monotonic())
        if self._kept(line):
            self._console.print(f"[yellow]{escape(self._line)}[/]", soft_wrap=True)
        if self._bars is not None:
            self._bars.update(
                self._task,
                description=escape(self._line),
                completed=self._before,
                total=self._total or None,
            )

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
            passed, left = time.monotonic() - self._began, self.left()
            line = self._line + (f" ({left})" if left else "")
            self._console.print(f"{passed:.0f} s: {escape(line)}", soft_wrap=True)

    def left(self) -> str:
        """How long the steps that are not done may take, at least and at most; nothing until that is known."""
        found = self._pace.left(time.monotonic())
        if found is None:
            return ""
        ended = [end for end in found if math.isfinite(end)]
        unit, seconds = ("s", 1) if max(ended) < 90 else ("min", 60)
        least, most = (max(round(end / seconds), 1) for end in (ended[0], ended[-1]))
        if len(ended) < len(found):
            return f"longer than before, then about {least} {unit} left" if ended[0] > 0 else "longer than before"
        return f"about {most} {unit} left" if least == most else f"{least} to {most} {unit} left"
