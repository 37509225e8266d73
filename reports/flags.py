"""Flags: why a harmless verdict would not be believed. Each is a function that says what it saw, or nothing.

``python -m reports.flags`` prints docs/flags.md.
"""

from __future__ import annotations

from collections.abc import Iterable

from atm.signals import ImageSignal
from reports import flags_of_peers, flags_of_runs, flags_of_training
from reports.case import Case
from reports.flag import Flag, Raised, page_of

FLAGS: tuple[Flag, ...] = (*flags_of_runs.FLAGS, *flags_of_training.FLAGS, *flags_of_peers.FLAGS)
"""All of them, gravest first."""


def raised(case: Case) -> tuple[Raised, ...]:
    """The flags that a case raises, gravest first."""
    seen = [(flag, flag.look(case)) for flag in FLAGS]
    return tuple(Raised(flag.of(case.run.signal), found) for flag, found in seen if found is not None)


def first_of(flags: Iterable[Raised]) -> Raised | None:
    """The one to do something about first: what it asks for may make others fall."""
    order = [flag.name for flag in FLAGS]
    return min(flags, key=lambda each: order.index(each.name), default=None)


def document() -> str:
    """The page docs/flags.md, in the words of pictures."""
    return page_of(flag.of(ImageSignal) for flag in FLAGS)


if __name__ == "__main__":
    print(document(), end="")
