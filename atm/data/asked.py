"""What every loader of signals may be asked for, beside where they are; `atm.data.loading` has the meaning."""

from __future__ import annotations

from collections.abc import Collection
from typing import Required, TypedDict


class Choice(TypedDict, total=False):
    """Which signals of a split; see `atm.data.load`."""

    limit: int | None
    seed: int
    distinct: bool
    seen: tuple[str, ...]
    label_by: str | None
    group_by: str | None
    strange: Collection[str]


class Division(TypedDict, total=False):
    """How signals are divided for an attack; see `atm.data.splits`."""

    victims: Required[int]
    auxiliary: Required[int]
    auxiliary_name: str | None
    group_by: str | None
    label_by: str | None
    seed: int
