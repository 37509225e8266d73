"""Files of a folder or tar of class folders: which of them are pictures, of which class, in which split.

Conventions, the same for folders and tars:

- A picture's class is the name of the folder that it lies in, unless a regular expression finds it in its path.
- Subfolders ``train``, ``test``, ``val`` and ``validation`` that hold folders of their own are splits; ``val`` and
  ``validation`` are test pictures where there is no ``test``. A class may have such a name: its folder holds pictures.
- Hidden and system files and folders are passed over without a word.
- Each folder is read once, however many links lead there, and links are not followed in circles.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from atm.data.formats import PICTURE, Kind
from atm.data.names import FOLDER, named
from atm.errors import AtmError
from atm.text import printable

SYSTEM = frozenset({"__macosx", "@eadir", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information"})
TEST_SPLITS = ("test", "val", "validation")  # the first one of them that is there


@dataclass(frozen=True)
class File:
    """One picture file.

    Attributes:
        name: path inside the folder or tar, as the file system gives it.
        path: of the file, or of the tar that it lies in.
        offset: first byte of the picture in ``path``.
        length: bytes of the picture.
        changed: time of the last change, in nanoseconds.
        label: name of its class.
    """

    name: str
    path: str
    offset: int
    length: int
    changed: int
    label: str = ""

    @property
    def folder(self) -> str:
        """Name of the folder that it lies in."""
        return os.path.basename(os.path.dirname(self.name))

    def read(self) -> bytes:
        """Its bytes."""
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(max(self.length, 0))


@dataclass(frozen=True)
class Found:
    """The pictures of a folder or tar.

    Attributes:
        files: in natural order of their names.
        classes: names as the file system gives them, in natural order.
        skipped: name and reason of files that are not used.
        splits: those that there are, ``train`` and ``test`` among them or none.
    """

    files: tuple[File, ...]
    classes: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    splits: frozenset[str]


def find(path: Path, split: str, kind: Kind = PICTURE, label_by: str | None = None) -> Found:
    """The pictures of a split, or the sounds; of everything when there are no splits.

    Args:
        path: a folder, or an uncompressed tar.
        split: ``train`` or ``test``.
        kind: what is looked for.
        label_by: a regular expression that finds the class in a path, see `atm.data.names.named`; None or ``folder``
            takes the folder.

    Raises:
        AtmError: it cannot be read, or has no pictures in class folders, or not that split.
    """
    by_name = label_by not in (None, FOLDER)
    wanted = f"no {kind.noun}s" if by_name else f"no {kind.noun}s in class folders"
    skipped: list[tuple[str, str]] = []
    shown = printable(path)
    files = listed(path, skipped, wanted)
    pictures = [file for file in files if _suffix(file.name) in kind.suffixes]
    skipped += [(file.name, kind.stray) for file in files if _suffix(file.name) not in kind.suffixes]
    pictures = _unwrapped(pictures)
    parts = _splits(pictures)
    if parts:
        names = ("train",) if split == "train" else TEST_SPLITS
        chosen = next((name for name in names if name in parts), None)
        if chosen is None:
            raise AtmError(
                f"{shown} has no {split} split beside {', '.join(sorted(parts))}; give one of these folders instead"
            )
        known = {name for name in parts if name != chosen}
        skipped += [(f.name, "beside the splits") for f in pictures if _split(f.name) not in parts]
        skipped = [(name, reason) for name, reason in skipped if not known & {part.lower() for part in name.split("/")}]
        pictures = [file for file in pictures if _split(file.name) == chosen]
    labels = named([f.name for f in pictures], str(label_by), "--label-by") if by_name else [f.folder for f in pictures]
    pictures = [replace(file, label=label) for file, label in zip(pictures, labels, strict=True)]
    loose = [file for file in pictures if not file.label]
    pictures = [file for file in pictures if file.label]
    if not pictures and loose:
        if by_name:
            raise AtmError(f"--label-by {label_by!r} names no class, such as of {printable(loose[0].name)}")
        raise AtmError(
            f"{shown} has no class folders; put the {kind.noun}s into one folder for each class, "
            "or say with --label-by where their names have it"
        )
    if not pictures:
        first = f"; the first problem: {printable(skipped[0][0])}: {skipped[0][1]}" if skipped else ""
        raise AtmError(f"{shown} holds {wanted}{first}")
    skipped += [(file.name, "of no class, by its name" if by_name else "in no class folder") for file in loose]
    classes = tuple(sorted({file.label for file in pictures}, key=natural))
    splits = frozenset("train" if part == "train" else "test" for part in parts)
    return Found(tuple(pictures), classes, tuple(sorted(skipped)), splits)


def listed(path: Path, skipped: list[tuple[str, str]], wanted: str) -> list[File]:
    """All files of a folder or an uncompressed tar, in natural order of their names.

    Args:
        path: of the folder or tar.
        skipped: name and reason of what is no file that can be read go in here.
        wanted: what it does not hold if it cannot be read, for the error.

    Raises:
        AtmError: it cannot be read.
    """
    try:
        return sorted((_tar if path.is_file() else _folder)(path, skipped), key=lambda file: natural(file.name))
    except Exception as error:  # a damaged tar can make tarfile raise nearly anything
        raise AtmError(f"{printable(path)} holds {wanted} ({printable(error)})") from None


def natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Key that sorts ``class10`` after ``class9``."""
    parts = re.split(r"([0-9]+)", name.lower())
    return [(int(part), "") if i % 2 else (-1, part) for i, part in enumerate(parts)], name


def _split(name: str) -> str:
    return name.split("/", 1)[0].lower()


def _unwrapped(files: list[File]) -> list[File]:
    """The files without the folders that all of them lie in, down to classes or splits."""
    while files and len({_split(file.name) for file in files}) == 1 and not _splits(files):
        if any(file.name.count("/") < 2 for file in files):
            break
        files = [replace(file, name=file.name.split("/", 1)[1]) for file in files]
    return files


def _splits(files: list[File]) -> set[str]:
    """The split folders: pictures lie two or more folders deep in them."""
    deep = {_split(file.name) for file in files if file.name.count("/") >= 2}
    return deep & {"train", *TEST_SPLITS}


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM


def _folder(root: Path, skipped: list[tuple[str, str]]) -> Iterator[File]:
    """All files; real folders before linked ones, so that a link gives its own name only to what is nowhere else."""
    visited: set[tuple[int, int]] = set()
    waiting, linked = [(root, "")], list[tuple[Path, str]]()
    while waiting or linked:
        folder, inside = waiting.pop() if waiting else linked.pop(0)
        status = folder.stat()
        if (status.st_dev, status.st_ino) in visited:
            skipped.append((inside, "a link to a folder that is read already"))
            continue
        visited.add((status.st_dev, status.st_ino))
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            if folder == root:
                raise
            skipped.append((inside, error.strerror or "cannot be read"))
            continue
        for entry in entries:
            name = f"{inside}/{entry.name}" if inside else entry.name
            if _is_hidden(entry.name):
                continue
            try:
                if entry.is_dir():
                    (linked if entry.is_symlink() else waiting).append((Path(entry.path), name))
                elif entry.is_file():
                    about = entry.stat()
                    yield File(name, entry.path, 0, about.st_size, about.st_mtime_ns)
                else:
                    skipped.append((name, "a link to nothing" if entry.is_symlink() else "no regular file"))
            except OSError as error:
                skipped.append((name, error.strerror or "cannot be read"))


def _tar(path: Path, skipped: list[tuple[str, str]]) -> Iterator[File]:
    changed = path.stat().st_mtime_ns
    found: dict[str, File] = {}  # what was appended later stands for what was there before
    with tarfile.open(path, "r:", errors="surrogateescape") as tar:
        members = tar.getmembers()
        with path.open("rb") as file:  # `tarfile` takes a tar that was cut off for a shorter one
            file.seek(tar.offset)
            if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError("the archive is cut off")
    for member in members:
        name = "/".join(part for part in member.name.split("/") if part not in ("", "."))
        if member.isdir() or any(_is_hidden(part) for part in name.split("/")):
            continue
        if member.isfile() and not member.issparse():
            found[name] = File(name, str(path), member.offset_data, member.size, changed)
        else:
            skipped.append((name, "a link or sparse file inside a tar"))
    yield from found.values()
