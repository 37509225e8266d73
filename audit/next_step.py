"""What a command that wrote a file says last: the command that goes on with it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from rich.markup import escape

from atm.text import printable
from audit.options import console


def next_step(**options: Sequence[object] | None) -> None:
    """Say the ``atm attack`` that takes what was written.

    Args:
        options: values of each option, by its name with ``_`` for ``-``; None among them, or in place of them, is left
            out.
    """
    words = ["atm", "attack"]
    for name, values in options.items():
        for value in values or ():
            words += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    console.print(escape(printable(f"next: {shlex.join(words)}")), soft_wrap=True)
