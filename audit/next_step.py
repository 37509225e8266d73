"""What a command that wrote a file says last: the command that goes on with it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.markup import escape

from atm.text import printable
from audit.command_lines import in_words
from audit.options import console


def next_step(**options: Sequence[object] | None) -> None:
    """Say the ``atm attack`` that takes what was written.

    Args:
        options: values of each option, by its name with ``_`` for ``-``; None among them, or in place of them, is left
            out.
    """
    given = {name: [value for value in values or () if value is not None] for name, values in options.items()}
    console.print(escape(printable(f"next: atm attack {in_words(given)}")), soft_wrap=True)
