"""Whether what is asked for is what was asked for before, and if not, in what it differs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

# Says where a run came from or what to know of it, and changes its numbers by rounding at most, as another version of
# PyTorch does, or another device; or says in words what another field says.
PROVENANCE = frozenset(
    {"versions", "device", "created", "command", "notes", "skipped", "canary", "denied", "left_out", "threat_in_words"}
)

Difference = tuple[str, Any, Any]  # the field with dots, what it was, what it is


def difference(before: Any, now: Any, field: str = "") -> Difference | None:
    """The first field in which two JSON values differ; None where they agree in all but `PROVENANCE`.

    Examples:
        >>> difference({"seed": 0, "data": {"digest": "a"}}, {"seed": 0, "data": {"digest": "b"}})
        ('data.digest', 'a', 'b')
    """
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted((before.keys() | now.keys()) - PROVENANCE)
        parts = [(key, before.get(key), now.get(key)) for key in keys]
    elif _objects(before) and _objects(now) and len(before) == len(now):
        parts = [(str(a.get("name", i)), a, b) for i, (a, b) in enumerate(zip(before, now, strict=True))]
    else:
        return None if before == now else (field, before, now)
    found = (difference(a, b, f"{field}.{key}" if field else key) for key, a, b in parts)
    return next((one for one in found if one), None)


def shrunk(before: Any, now: list[Any], field: str) -> Difference | None:
    """The first entry of a list that is changed or missing in another, which may have more; all of what is no list."""
    if not isinstance(before, list):
        return field, before, now
    for entry in before:
        if entry in now:
            continue
        same = [other for other in now if isinstance(entry, dict) and other.get("name") == entry.get("name")]
        if not same:
            return field, before, now
        if found := difference(entry, same[0], f"{field}.{entry.get('name')}"):
            return found
    return None


def changed(
    before: dict[str, Any], now: dict[str, Any], *, free: Collection[str], growing: Collection[str], field: str = ""
) -> Difference | None:
    """The first field in which settings differ, of those that must not.

    Args:
        before: what was asked for.
        now: what is asked for.
        free: fields that may differ.
        growing: fields with lists that may grow, and lose or change nothing.
        field: which both are.
    """
    special = {*free, *growing}
    fixed = [{key: value for key, value in each.items() if key not in special} for each in (before, now)]
    found = difference(fixed[0], fixed[1], field)
    for name in growing:
        found = found or shrunk(before.get(name, []), now.get(name, []), f"{field}.{name}" if field else name)
    return found


def short(value: Any) -> str:
    """A value in a message: a digest is as telling with 12 digits."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:12]}…" if isinstance(value, str) else f"{text[:57]}…"


def _objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, dict) for entry in value)
