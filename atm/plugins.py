"""Finds attacks, defences and channels: those in our own folders, and those that other installed packages announce.

A third party adds one through an entry point, with no change here::

    [project.entry-points."atm.attacks"]
    my_attack = "my_package.my_module:MyAttack"
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any

from atm.errors import AtmError, one_line


def discover(package: ModuleType, group: str, kind: type[Any], *others: type[Any]) -> dict[str, type[Any]]:
    """Classes by their ``name``.

    Args:
        package: every class of the kind in one of its modules is found if it has a ``name`` and lacks no method.
        group: entry-point group in which other packages announce theirs.
        kind: the base class that all of them have.
        others: base classes of other kinds that share the group; their subclasses are passed over.

    Raises:
        AtmError: an announced class cannot be loaded or is not of the kind, or two share a name.
    """
    found: dict[str, type[Any]] = {}
    for where, candidate in [*_own(package, kind), *_announced(group, kind, others)]:
        if candidate.name in found:
            raise AtmError(f"two {group.split('.')[-1]} are named {candidate.name!r}; the second is in {where}")
        found[candidate.name] = candidate
    return found


def _own(package: ModuleType, kind: type[Any]) -> Iterator[tuple[str, type[Any]]]:
    for info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        try:
            module = importlib.import_module(info.name)
        except Exception as error:  # whoever writes a file may make any mistake in it
            raise AtmError(f"{info.name} cannot be loaded: {one_line(error)}") from error
        for _, candidate in inspect.getmembers(module, inspect.isclass):
            if candidate.__module__ == info.name and issubclass(candidate, kind) and not _lacks(candidate):
                yield info.name, candidate


def _announced(group: str, kind: type[Any], others: tuple[type[Any], ...]) -> Iterator[tuple[str, type[Any]]]:
    for point in entry_points(group=group):
        where = f"{group} entry point {point.name!r} ({point.value})"
        try:
            candidate = point.load()
        except Exception as error:  # a stranger's module may fail in any way
            raise AtmError(f"{where} cannot be loaded: {one_line(error)}") from None
        if inspect.isclass(candidate) and issubclass(candidate, others):
            continue
        if not (inspect.isclass(candidate) and issubclass(candidate, kind)):
            bases = " or ".join(f"{base.__module__}.{base.__qualname__}" for base in (kind, *others))
            raise AtmError(f"{where} is no subclass of {bases}; make it one")
        if _lacks(candidate):
            raise AtmError(f"{where} lacks {', '.join(_lacks(candidate))}")
        yield point.value, candidate


def _lacks(candidate: type[Any]) -> list[str]:
    """What a subclass still lacks to be one of its kind: a name, methods."""
    named = isinstance(getattr(candidate, "name", None), str)
    return [*([] if named else ["a name"]), *(f"{method}()" for method in sorted(candidate.__abstractmethods__))]
