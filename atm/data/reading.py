"""Many pictures into one array: decoded in worker processes, without copies, and kept on disk when there are many."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from atm.data import cache, hubs, pictures, sounds
from atm.data.folders import File, Found
from atm.data.formats import kind_of
from atm.data.pictures import Size, UnusableError
from atm.data.sets import ImageSet, content, sample
from atm.errors import AtmError
from atm.progress import track
from atm.text import counted, examples, printable, told_of

VERSION = 1  # of what is cached; counts up when the same files give other pixels
MANY = 500  # pictures, above which worker processes decode them and the cache keeps them
MOST_WORKERS = 8
BATCH = 16  # files that a worker decodes at a time


@dataclass(frozen=True)
class Wanted:
    """What is asked for; see `atm.data.load`."""

    size: Size
    channels: int
    limit: int | None = None
    seed: int = 0
    distinct: bool = False
    seen: tuple[str, ...] = ()
    spectrogram: str = ""
    label_by: str | None = None

    @property
    def noun(self) -> str:
        """What one of these files is called."""
        return kind_of(self.spectrogram).noun


@dataclass(frozen=True)
class Decoded:
    """One file: its pixels and what was done to them, or the reason why there are none."""

    name: str
    label: int
    pixels: np.ndarray | None
    notes: tuple[str, ...] = ()
    reason: str = ""


@dataclass
class Gathered:
    """Pictures that were read, and what there is to say of them; all but ``pixels`` can be written as JSON."""

    labels: list[int] = field(default_factory=list)
    hashes: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    copies: int = 0


def read_files(name: str, found: Found, wanted: Wanted) -> ImageSet:
    """The pictures of a folder or tar.

    Raises:
        AtmError: none is usable, or they have different sizes and ``wanted.size`` is None.
    """
    rows = _order(len(found.files), wanted)
    files = [found.files[row] for row in rows]
    index = {folder: label for label, folder in enumerate(found.classes)}
    labels = [index[file.label] for file in files]
    many = min(len(files), wanted.limit or len(files)) > MANY
    key = _key(files, labels, found.skipped, wanted) if many else None
    workers = min(os.cpu_count() or 1, MOST_WORKERS) if many else 0
    with cache.entry(key) as entry:
        gathered = _remembered(entry)
        if gathered is None:
            decoded = _decoded(files, labels, wanted, workers)
            gathered = _gather(name, decoded, len(files), wanted, entry, found.skipped)
            entry.finish(asdict(gathered))
        pixels = entry.pixels(len(gathered.labels))
    return _image_set(name, pixels, gathered, tuple(printable(folder) for folder in found.classes))


def _remembered(entry: cache.Entry) -> Gathered | None:
    """What a filled entry says; one that is damaged is taken away."""
    if entry.array is None:
        return None
    try:
        gathered = Gathered(**entry.about)
        if 0 < len(gathered.labels) == len(gathered.hashes) <= len(entry.array):
            return gathered
    except TypeError:  # other fields, or none
        pass
    entry.forget()
    return None


def read_stream(name: str, dataset: Any, wanted: Wanted) -> ImageSet:
    """The pictures of a data set that timm opened.

    Raises:
        AtmError: see `read_files`.
    """
    rows = _order(len(dataset), wanted)
    items = hubs.items(dataset, rows, None if wanted.distinct else wanted.limit)
    with cache.entry(None) as entry:
        decoded = (_decode(picture, image, label, wanted) for picture, image, label in items)
        gathered = _gather(name, decoded, len(rows), wanted, entry, ())
        pixels = entry.pixels(len(gathered.labels))
    classes = hubs.classes(dataset) or tuple(str(label) for label in range(max(gathered.labels) + 1))
    return _image_set(name, pixels, gathered, classes)


def _order(count: int, wanted: Wanted) -> list[int]:
    return list(range(count)) if wanted.limit is None else sample(count, None, wanted.seed).tolist()


def _image_set(name: str, pixels: torch.Tensor, gathered: Gathered, classes: tuple[str, ...]) -> ImageSet:
    found = ImageSet(name, pixels, torch.tensor(gathered.labels), classes, tuple(gathered.skipped),
                     tuple(gathered.notes), gathered.copies)  # fmt: skip
    found.__dict__["hashes"] = tuple(gathered.hashes)  # they were needed, or are kept with the cached pixels
    return found


class _Files(Dataset[Decoded]):
    """Files for `DataLoader`; what it hands to the workers."""

    def __init__(self, files: list[File], labels: list[int], wanted: Wanted) -> None:
        self.files, self.labels, self.wanted = files, labels, wanted

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> Decoded:
        file = self.files[row]
        try:
            return _decode(file.name, file.read(), self.labels[row], self.wanted)
        except OSError as error:
            return Decoded(file.name, self.labels[row], None, reason=error.strerror or "cannot be read")


def _decode(name: str, image: Any, label: int, wanted: Wanted) -> Decoded:
    try:
        if wanted.spectrogram:
            pixels, notes = sounds.decode(image, wanted.size, wanted.channels, wanted.spectrogram)
        else:
            pixels, notes = pictures.decode(image, wanted.size, wanted.channels)
        return Decoded(name, int(label), pixels, notes)
    except UnusableError as error:
        return Decoded(name, int(label), None, reason=str(error))


def _decoded(files: list[File], labels: list[int], wanted: Wanted, workers: int) -> Iterator[Decoded]:
    """The files in order, decoded by so many worker processes, or by this one."""
    loader = DataLoader(
        _Files(files, labels, wanted),
        batch_size=BATCH,
        num_workers=0 if multiprocessing.current_process().daemon else workers,  # a daemon may have no children
        collate_fn=list,  # arrays go through a pipe; tensors would need shared memory, of which a container has little
        generator=torch.Generator(),  # the loader draws a seed, which would change everybody's next random number
    )
    for batch in loader:
        yield from batch


def _gather(
    name: str,
    decoded: Iterable[Decoded],
    count: int,
    wanted: Wanted,
    entry: cache.Entry,
    passed_over: Iterable[tuple[str, str]],
) -> Gathered:
    total = min(count, wanted.limit or count)
    gathered, known = Gathered(), set(wanted.seen)
    notes, reasons = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for file, reason in passed_over:
        reasons[reason].append(file)
    for picture in track(decoded, f"reading {wanted.noun}s", total=total):
        if picture.pixels is None:
            reasons[picture.reason].append(picture.name)
            continue
        digest = content(picture.pixels)
        if wanted.distinct and digest in known:
            gathered.copies += 1
            continue
        if entry.array is None:
            entry.allocate((total, *picture.pixels.shape))
        assert entry.array is not None
        if picture.pixels.shape != entry.array.shape[1:]:
            raise AtmError(f"{name} has pictures of different sizes; give one size for all (--size)")
        entry.array[len(gathered.labels)] = picture.pixels
        known.add(digest)
        gathered.labels.append(picture.label)
        gathered.hashes.append(digest)
        for note in picture.notes:
            notes[note].append(picture.name)
        if len(gathered.labels) == total:
            break
    gathered.skipped = [_line("file", files, reason) for reason, files in sorted(reasons.items())]
    gathered.notes = [
        f"{told_of(len(files), f'{wanted.noun}s {note}')} ({examples(files)})" for note, files in sorted(notes.items())
    ]
    if not gathered.labels:
        problem = f"; the first problem: {gathered.skipped[0]}" if gathered.skipped else ""
        raise AtmError(f"{name} has no usable {wanted.noun}{problem}")
    return gathered


def _line(kind: str, names: list[str], reason: str) -> str:
    if len(names) == 1:
        return f"{printable(names[0])}: {reason}"
    return f"{counted(len(names), kind)}: {reason} ({examples(sorted(names))})"


def _key(files: list[File], labels: list[int], skipped: tuple[tuple[str, str], ...], wanted: Wanted) -> str:
    """Digest of all that the cached pixels depend on."""
    described = [VERSION, asdict(wanted), skipped, labels, [list(vars(file).values()) for file in files]]
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:40]
