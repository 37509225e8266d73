"""One writer per folder."""

from __future__ import annotations

import fcntl
import os
import weakref
from contextlib import suppress
from pathlib import Path

from atm.errors import AtmError
from atm.store.files import storing

LOCK = ".lock"


class Lock:
    """The right to write a folder, which is made if missing; held until `release`, or the end of the process.

    The kernel holds it for an open file, so that it ends with the process however that ends. Making its file is also
    the proof that the folder can be written.

    Args:
        folder: to write.

    Raises:
        AtmError: another process is writing it.
        StorageError: the folder cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / LOCK
        with storing(folder):
            made = [step for step in (folder, *folder.parents) if not step.exists()]
            try:
                file = _lock(path)
            except BlockingIOError:
                raise AtmError(
                    f"{folder} is being written by another process; wait for it or choose another --out"
                ) from None
            except BaseException:
                _remove_empty(made)
                raise
        self._release = weakref.finalize(self, _release, file, path, made, os.getpid())

    def release(self) -> None:
        """Let go, and remove the lock's file, and the folder if it was made here and is empty."""
        self._release()


def _lock(path: Path) -> int:
    """The lock's file, open and locked, once it is surely the one that others find by that name."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(file), os.stat(path)):
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # who held it before removed it between the two calls


def _release(file: int, path: Path, made: list[Path], owner: int) -> None:
    if os.getpid() == owner:  # a forked child has a copy of the file, and no say
        with suppress(OSError):
            os.unlink(path)
        _remove_empty(made)
    os.close(file)


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # one that is not empty, or the parent of one that was made, such as new/..
            folder.rmdir()
