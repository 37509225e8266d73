"""The order that was asked for, of records that were written down as they ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def position(value: Any, asked: Sequence[Any]) -> int:
    """Where a value stands in what was asked for, behind all of it if it was not.

    Examples:
        >>> position("b", ["a", "b"]), position("c", ["a", "b"])
        (1, 2)
    """
    return asked.index(value) if value in asked else len(asked)


def asked_for(about: Mapping[str, Any], field: str) -> Sequence[Any]:
    """A list of a folder's configuration; empty where its settings, which anybody may have written, have none.

    Examples:
        >>> asked_for({"config": {"snr": [0.0, 5.0]}}, "snr"), asked_for({}, "snr"), asked_for({"config": 3}, "snr")
        ([0.0, 5.0], (), ())
    """
    config = about.get("config")
    found = config.get(field) if isinstance(config, dict) else None
    return found if isinstance(found, list) else ()
