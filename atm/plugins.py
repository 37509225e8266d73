"""Finds attacks, defences and channels: those in our own folders, and those that other installed packages announce.

A third party adds one through an entry point, with no change here::

    [project.entry-points."atm.attacks"]
    my_attack = "my_package.my_module:MyAttack"

One that cannot be used is named in one line on standard error, once, and skipped; the others are there all the same.
A run whose attacks were incomplete says so in its notes (`skipped`).
"""

from __future__ import annotations

import importlib
import inspect
import logging
import pkgutil
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from atm.errors import AtmError, one_line

_log = logging.getLogger(__name__)
_skipped: dict[str, str] = {}  # what was said of those that were skipped, and their group


def discover(package: ModuleType, group: str, kind: type[Any], *others: type[Any]) -> dict[str, type[Any]]:
    """Classes by their ``name``.

    Args:
        package: every class of the kind in one of its modules is found if it has a ``name`` and lacks no method.
        group: entry-point group in which other packages announce theirs.
        kind: the base class that all of them have.
        others: base classes of other kinds that share the group; their subclasses are passed over.
    """
    found: dict[str, type[Any]] = {}
    for where, load in [*_own(package, kind), *_announced(group, kind, others)]:
        try:
            candidates = load()
            for candidate in candidates:
                if candidate.name in found:
                    raise AtmError(f"{where}: {candidate.name!r} is the name of another one; the first is kept")
                found[candidate.name] = candidate
        except AtmError as error:
            _skip(str(error), group)
        except (Exception, SystemExit) as error:  # whoever writes a file may make any mistake in it
            _skip(f"{where} cannot be loaded: {one_line(error)}", group)
    return found


def skipped(group: str) -> list[str]:
    """What was left out of a group so far, and why, a line each."""
    return [why for why, of in _skipped.items() if of == group]


def _skip(why: str, group: str) -> None:
    if why not in _skipped:
        _skipped[why] = group
        _log.warning("skipped: %s", why)


Loader = Callable[[], list[type[Any]]]


def _own(package: ModuleType, kind: type[Any]) -> Iterator[tuple[str, Loader]]:
    def load(name: str) -> list[type[Any]]:
        classes = [each for _, each in inspect.getmembers(importlib.import_module(name), inspect.isclass)]
        return [c for c in classes if c.__module__ == name and issubclass(c, kind) and not _lacks(c)]

    for info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        yield info.name, partial(load, info.name)


def _announced(group: str, kind: type[Any], others: tuple[type[Any], ...]) -> Iterator[tuple[str, Loader]]:
    def load(point: EntryPoint, where: str) -> list[type[Any]]:
        candidate = point.load()
        if inspect.isclass(candidate) and issubclass(candidate, others):
            return []
        if not (inspect.isclass(candidate) and issubclass(candidate, kind)):
            bases = " or ".join(f"{base.__module__}.{base.__qualname__}" for base in (kind, *others))
            raise AtmError(f"{where} is no subclass of {bases}; make it one")
        if _lacks(candidate):
            raise AtmError(f"{where} lacks {', '.join(_lacks(candidate))}")
        return [candidate]

    for point in entry_points(group=group):
        where = f"{group} entry point {point.name!r} ({point.value})"
        yield where, partial(load, point, where)


def _lacks(candidate: type[Any]) -> list[str]:
    """What a subclass still lacks to be one of its kind: a name, methods."""
    named = isinstance(getattr(candidate, "name", None), str)
    return [*([] if named else ["a name"]), *(f"{method}()" for method in sorted(candidate.__abstractmethods__))]
