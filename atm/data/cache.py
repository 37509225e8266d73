"""Pixels of large sets on disk: decoded once, mapped into memory, the oldest ones removed above a limit.

They lie under ``$ATM_CACHE`` (default ``~/.cache/atm-privacy``), in ``pictures``, and take at most ``$ATM_CACHE_LIMIT``
gigabytes (default 20). An entry is a folder, renamed into place when it is complete. Where nothing can be written, or
a set is larger than the limit, pixels stay in memory.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atm.errors import AtmError
from atm.rows import cache_folder

LIMIT = 20.0  # GB
ABANDONED = 86_400  # seconds after which a folder that was never completed is removed
UNFINISHED = "unfinished-"


class Entry:
    """An array of pixels that is being filled, or was filled earlier.

    Attributes:
        array: ``[N, C, H, W]`` uint8, of which the first rows count; None until `allocate`, or when there is no entry.
        about: what `finish` was given when it was written.
    """

    def __init__(self, key: str | None) -> None:
        self.array: np.ndarray | None = None
        self.about: dict[str, Any] = {}
        self._place = None if key is None else _root() / key
        self._draft: Path | None = None
        if self._place is not None:
            self._open(self._place)

    def allocate(self, shape: tuple[int, ...]) -> None:
        """Make an array of that shape, on disk if the entry has a key and there is room, else in memory."""
        if self._place is not None and math.prod(shape) <= _limit():
            try:
                self._place.parent.mkdir(parents=True, exist_ok=True)
                self._draft = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self._place.parent))
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
            self._draft.rename(self._place)  # fails when another process was faster, whose entry is as good
            self._draft = None
            self._open(self._place)
            _shrink(self._place)

    def pixels(self, count: int) -> Tensor:
        """The first rows as a tensor. Writing to it changes memory alone, never the file."""
        assert self.array is not None
        return torch.from_numpy(self.array[:count])

    def discard(self) -> None:
        """Remove what was not finished."""
        if self._draft is not None:
            shutil.rmtree(self._draft, ignore_errors=True)
            self._draft = None

    def _open(self, place: Path) -> None:
        try:
            about = json.loads((place / "about.json").read_text(encoding="utf-8"))
            self.array, self.about = np.load(place / "pixels.npy", mmap_mode="c"), about
            os.utime(place)
        except FileNotFoundError:
            pass
        except (OSError, ValueError):  # damaged: made anew
            shutil.rmtree(place, ignore_errors=True)


@contextmanager
def entry(key: str | None) -> Iterator[Entry]:
    """The entry of a key, complete or to be filled; without a key, an array in memory."""
    found = Entry(key)
    try:
        yield found
    finally:
        found.discard()


def _root() -> Path:
    return cache_folder() / "pictures"


def _limit() -> float:
    """Bytes that the cache may take."""
    text = os.environ.get("ATM_CACHE_LIMIT") or str(LIMIT)
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not limit >= 0:
        raise AtmError(f"ATM_CACHE_LIMIT is {text!r}; give a number of gigabytes, 0 for no cache")
    return limit * 1e9


def _reserve(path: Path) -> None:
    """Take the disk's room now: writing to a mapped file on a full disk would kill the process."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _shrink(keep: Path) -> None:
    """Remove the entries that were not used for longest until the others fit; never the newest one."""
    kept = 0
    entries = [(folder.stat().st_mtime, folder) for folder in keep.parent.iterdir() if folder.is_dir()]
    for used, folder in sorted(entries, reverse=True):
        if folder.name.startswith(UNFINISHED):
            if time.time() - used > ABANDONED:
                shutil.rmtree(folder, ignore_errors=True)
            continue
        kept += sum(file.stat().st_size for file in folder.iterdir())
        if kept > _limit() and folder != keep:
            shutil.rmtree(folder, ignore_errors=True)
