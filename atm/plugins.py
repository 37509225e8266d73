"""Finds attacks and defences: those in our own folder, and those that other installed packages announce.

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


def discover(package: ModuleType, group: str, method: str, other: str = "") -> dict[str, type[Any]]:
    """Classes by their ``name``.

    Args:
        package: every class in one of its modules that has a ``name`` and the method is found.
        group: entry-point group in which other packages announce theirs.
        method: what makes a class one of the kind, such as ``reconstruct``.
        other: what makes a class one of another kind that shares the group; such classes are passed over.

    Raises:
        AtmError: an announced class cannot be loaded or is not of the kind, or two share a name.
    """
    found: dict[str, type[Any]] = {}
    for where, candidate in [*_own(package, method), *_announced(group, method, other)]:
        if candidate.name in found:
            raise AtmError(f"two {group.split('.')[-1]} are named {candidate.name!r}; the second is in {where}")
        found[candidate.name] = candidate
    return found


def _own(package: ModuleType, method: str) -> Iterator[tuple[str, type[Any]]]:
    for info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        try:
            module = importlib.import_module(info.name)
        except Exception as error:  # whoever writes a file may make any mistake in it
            raise AtmError(f"{info.name} cannot be loaded: {one_line(error)}") from error
        for _, candidate in inspect.getmembers(module, inspect.isclass):
            named = isinstance(getattr(candidate, "name", None), str)
            if candidate.__module__ == info.name and named and hasattr(candidate, method):
                yield info.name, candidate


def _announced(group: str, method: str, other: str) -> Iterator[tuple[str, type[Any]]]:
    for point in entry_points(group=group):
        try:
            candidate = point.load()
        except Exception as error:  # a stranger's module may fail in any way
            raise AtmError(
                f"{group} entry point {point.name!r} ({point.value}) cannot be loaded: {one_line(error)}"
            ) from None
        if other and inspect.isclass(candidate) and hasattr(candidate, other) and not hasattr(candidate, method):
            continue
        if not (inspect.isclass(candidate) and hasattr(candidate, method) and hasattr(candidate, "name")):
            raise AtmError(f"{group} entry point {point.name!r} ({point.value}) needs a class with name and {method}()")
        yield point.value, candidate
