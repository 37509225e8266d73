"""The order that was asked for, of records that were written down as they ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def position(value: Any, asked: Sequence[Any]) -> int:
    """Where a value stands in what was asked for, behind all of it if it was not.

    Examples:
        >>> position("b", ["a", "b"]), position("c", ["a", "b"])
        (1, 2)
    """
    return asked.index(value) if value in asked else len(asked)
