"""Pixels of large sets in the cache on disk (`atm.cache`): decoded once, mapped into memory.

Where nothing can be written, or a set is larger than the cache may be, pixels stay in memory.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atm.cache import PICTURES, complete, draft, limit, place


class Entry:
    """An array of pixels that is being filled, or was filled earlier.

    Attributes:
        array: ``[N, C, H, W]`` uint8, of which the first rows count; None until `allocate`, or when there is no entry.
        about: what `finish` was given when it was written.
    """

    def __init__(self, key: str | None) -> None:
        self.array: np.ndarray | None = None
        self.about: dict[str, Any] = {}
        self._place = None if key is None else place(PICTURES, key)
        self._draft: Path | None = None
        if self._place is not None:
            self._open(self._place)

    def allocate(self, shape: tuple[int, ...]) -> None:
        """Make an array of that shape, on disk if the entry has a key and there is room, else in memory."""
        if self._place is not None and math.prod(shape) <= limit():
            try:
                self._draft = draft(self._place)
                self.array = np.lib.format.open_memmap(self._draft / "pixels.npy", "w+", np.uint8, shape)
                _reserve(self._draft / "pixels.npy")
                return
            except OSError:
                self.discard()
        self.array = np.empty(shape, np.uint8)

    def finish(self, about: dict[str, Any]) -> None:
        """Put a filled entry into its place; ``about`` comes back with it and can be written as JSON."""
        if self._draft is None or self._place is None:
            return
        assert isinstance(self.array, np.memmap)
        self.array.flush()
        with suppress(OSError):
            (self._draft / "about.json").write_text(json.dumps(about), encoding="utf-8")
            if complete(self._draft, self._place):
                self._draft = None
                self._open(self._place)

    def pixels(self, count: int) -> Tensor:
        """The first rows as a tensor. Writing to it changes memory alone, never the file."""
        assert self.array is not None
        return torch.from_numpy(self.array[:count])

    def forget(self) -> None:
        """Take a filled entry away, which says something that cannot be."""
        self.array, self.about = None, {}
        if self._place is not None:
            shutil.rmtree(self._place, ignore_errors=True)

    def discard(self) -> None:
        """Remove what was not finished."""
        if self._draft is not None:
            shutil.rmtree(self._draft, ignore_errors=True)
            self._draft = None

    def _open(self, folder: Path) -> None:
        try:
            about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
            self.array, self.about = np.load(folder / "pixels.npy", mmap_mode="c"), about
        except FileNotFoundError:
            pass
        except (OSError, ValueError, EOFError):  # damaged: made anew
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def entry(key: str | None) -> Iterator[Entry]:
    """The entry of a key, complete or to be filled; without a key, an array in memory."""
    found = Entry(key)
    try:
        yield found
    finally:
        found.discard()


def _reserve(path: Path) -> None:
    """Take the disk's room now: writing to a mapped file on a full disk would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
