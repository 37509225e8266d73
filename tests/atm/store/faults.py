"""Disks that fail and processes that die, at any chosen call to the operating system."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from atm.store import files

WRITING = ("write", "fsync", "replace", "ftruncate", "unlink", "makedirs", "rmtree")


class Killed(BaseException):
    """What stands for SIGKILL: nothing catches it, and nothing is written after it."""


class Calls:
    """Stands for the modules ``os`` and ``shutil`` in `atm.store.files`, and counts the calls that change a disk.

    Args:
        at: number of the call that fails, from 1; 0 lets all succeed.
        error: what it raises; so does every later call.
        after: only calls of this name count.
    """

    def __init__(self, at: int = 0, error: BaseException | None = None, only: tuple[str, ...] = WRITING) -> None:
        self.at, self.error, self.only = at, error or Killed(), only
        self.names: list[str] = []
        self.failing = False

    @property
    def count(self) -> int:
        """Calls so far."""
        return len(self.names)

    def __getattr__(self, name: str) -> Any:
        function = getattr(shutil if name == "rmtree" else os, name)
        return partial(self._call, name, function) if name in self.only else function

    def _call(self, name: str, function: Any, *args: Any, **options: Any) -> Any:
        self.names.append(name)
        if self.failing or self.count == self.at:
            if name == "write" and not self.failing:
                function(args[0], args[1][: len(args[1]) // 2])  # torn
            self.failing = True
            raise self.error
        return function(*args, **options)


@contextmanager
def failing(at: int = 0, error: BaseException | None = None, only: tuple[str, ...] = WRITING) -> Iterator[Calls]:
    """Within it, the call number ``at`` and all after it fail."""
    calls = Calls(at, error, only)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "os", calls)
        patch.setattr(files, "shutil", calls)
        yield calls


def full() -> OSError:
    """What a full disk says."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
