"""Progress bars on the terminal, and silence anywhere else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track as rich_track

T = TypeVar("T")
_console = Console(stderr=True)


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """The items, with a progress bar on standard error that vanishes at the end."""
    if not _console.is_terminal:
        yield from items
        return
    yield from rich_track(items, description, total=total, console=_console, transient=True)
