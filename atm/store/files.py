"""Files that appear whole or not at all, and are on disk when a call returns.

What the file system refuses (no space, no permission, a folder in the way) is a `StorageError` of one line.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from atm.errors import StorageError

PARTIAL = ".partial"  # how the name of a file ends that is not finished


def write(path: Path, content: str | bytes) -> None:
    """Write a file, replacing what is there, whole or not at all.

    Args:
        path: of the file, in a folder that exists.
        content: text is encoded as UTF-8.

    Raises:
        StorageError: it cannot be written; what was there is still there.
    """
    if not path.name:
        raise StorageError(f"{path}: it is a folder; give the name of a file")
    partial = path.with_name(path.name + PARTIAL)
    with storing(path):
        try:
            _fill(partial, encoded(content))
            os.replace(partial, path)
        except OSError:
            with suppress(OSError):
                os.unlink(partial)
            raise
        sync_folder(path.parent)


def write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write a folder of files, replacing what is there.

    A kill leaves the old one, none, or the new one, and never a part of it.

    Raises:
        StorageError: it cannot be written.
    """
    partial = folder.with_name(folder.name + PARTIAL)
    with storing(folder):
        remove(partial)
        os.makedirs(partial)
        for name, content in contents.items():
            _fill(partial / name, content)
        sync_folder(partial)
        remove(folder)
        os.replace(partial, folder)
        sync_folder(folder.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        StorageError: it cannot be made.
    """
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)


def append(path: Path, start: int, content: bytes) -> None:
    """Write behind the first ``start`` bytes of a file, which is made if missing; whatever was there is cut off.

    Raises:
        StorageError: it cannot be written, or has become shorter than that.
    """
    with storing(path):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            if os.fstat(file).st_size < start:
                raise StorageError(f"{path} was cut off by someone else while it was written")
            os.ftruncate(file, start)
            os.lseek(file, start, os.SEEK_SET)
            _write_all(file, content)
            os.fsync(file)
        finally:
            os.close(file)
        if start == 0:
            sync_folder(path.parent)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that it holds; nothing where there is none.

    Raises:
        StorageError: it cannot be removed.
    """
    with storing(path):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)


def check_writable(folder: Path) -> None:
    """Refuse a folder in which nothing can be written, before anything slow is done for it; it need not exist yet.

    Raises:
        StorageError: it cannot be made, or not be written.
    """
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    probe = there / f".writable-{os.getpid()}{PARTIAL}"
    with storing(folder):
        _fill(probe, b"")
        os.unlink(probe)


def encoded(content: str | bytes) -> bytes:
    """UTF-8; file names that are no UTF-8 become escapes, which JSON reads back as what they were."""
    return content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn what the operating system says about a path into a line for the user."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from None


def sync_folder(folder: Path) -> None:
    """Return once the names of a folder's files are on disk."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _fill(path: Path, content: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o666)
    try:
        _write_all(file, content)
        os.fsync(file)
    finally:
        os.close(file)


def _write_all(file: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]
