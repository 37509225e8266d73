"""Labelled signals in memory or mapped from disk, and their division between victims and adversary."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Generic, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from atm.rows import Pixels, Rows


@dataclass(frozen=True, eq=False)
class Samples(ABC):
    """Labelled signals of one kind, each kind in a form of its own.

    Attributes:
        name: of the data set.
        kept: ``[N, ...]`` in the form in which they are kept, which may be mapped from a file.
        labels: ``[N]`` int64, indices into ``classes``.
        classes: names of the classes, whether or not a signal of theirs is among these ones.
        skipped: one line for each kind of thing that could not be used.
        notes: one line for each kind of change that signals went through.
        copies: signals that were left out because the same content was there already.
        groups: names of those that they were chosen from (`atm.data.groups`); empty where nobody asked for groups.
    """

    name: str
    kept: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    copies: int = 0
    groups: tuple[str, ...] = field(default=(), kw_only=True)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    @abstractmethod
    def inputs(self) -> Tensor:
        """All of them as a victim takes them in, in memory."""

    @abstractmethod
    def with_more(self, *others: Self) -> Rows:
        """These and others as a victim takes them in, of which only what is asked for is in memory."""

    @property
    def rows(self) -> Rows:
        """All of them as a victim takes them in, of which only what is asked for is in memory."""
        return self.with_more()

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """SHA-256 of each signal's shape and content, in hex."""
        return tuple(content(each.numpy()) for each in self.kept)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all signals and labels, in hex."""
        labels = np.ascontiguousarray(self.labels.numpy().astype("<i8"))
        return hashlib.sha256("".join(self.hashes).encode() + labels.tobytes()).hexdigest()

    def subset(self, rows: Sequence[int] | Tensor) -> Self:
        """Some of them, in the order asked for; consecutive ones share memory with these."""
        wanted = torch.as_tensor(rows, dtype=torch.long)
        first = int(wanted[0]) if len(wanted) else -1
        consecutive = first >= 0 and torch.equal(wanted, torch.arange(first, first + len(wanted)))
        part = slice(first, first + len(wanted)) if consecutive else wanted
        chosen = replace(self, kept=self.kept[part], labels=self.labels[part])
        if "hashes" in self.__dict__:
            chosen.__dict__["hashes"] = tuple(self.hashes[row] for row in wanted.tolist())
        return chosen

    def chosen_from(self, groups: tuple[str, ...]) -> Self:
        """The same, of groups of such names."""
        named = replace(self, groups=groups)
        if "hashes" in self.__dict__:
            named.__dict__["hashes"] = self.hashes
        return named

    def distinct(self, seen: Sequence[str] = ()) -> Self:
        """The first one of all with the same content; none whose hash is among ``seen``."""
        known, rows = set(seen), []
        for row, found in enumerate(self.hashes):
            if found not in known:
                known.add(found)
                rows.append(row)
        chosen = replace(self.subset(rows), copies=self.copies + len(self) - len(rows))
        chosen.__dict__["hashes"] = tuple(self.hashes[row] for row in rows)
        return chosen


@dataclass(frozen=True, eq=False)
class ImageSet(Samples):
    """Labelled pictures of one size, kept as ``[N, C, H, W]`` uint8, C being 1 or 3.

    Those of a large set are mapped from the cache on disk, so take slices or `batches` of them and not all at once.
    ``classes`` are names of folders, ``skipped`` counts files, ``notes`` tell of transparency, sizes and frames.
    """

    @property
    def pixels(self) -> Tensor:
        """``[N, C, H, W]`` uint8."""
        return self.kept

    @property
    def images(self) -> Tensor:
        """All pictures, ``[N, C, H, W]`` float in [0, 1]: four times the memory of ``pixels``; see `batches`."""
        return self.pixels.float() / 255

    @property
    def inputs(self) -> Tensor:
        """The same: what a victim takes in."""
        return self.images

    def with_more(self, *others: ImageSet) -> Pixels:
        """``[N, C, H, W]`` float in [0, 1]."""
        return Pixels([self.pixels, *(other.pixels for other in others)])

    def batches(self, size: int) -> Iterator[Tensor]:
        """The pictures in order, ``[B, C, H, W]`` float in [0, 1], ``size`` at a time and the rest at the end."""
        for begin in range(0, len(self), size):
            yield self.pixels[begin : begin + size].float() / 255


S = TypeVar("S", bound=Samples)


@dataclass(frozen=True)
class Splits(Generic[S]):
    """Signals for an attack, each one of another content than all others.

    Attributes:
        victims: the attacked ones.
        auxiliary: the adversary's own.
        validation: more of the adversary's own, to choose parameters and checkpoints by.
        removed: signals, of either side, that were left out because the same content is elsewhere.
        alike: signals of the adversary's that were left out because they are near-duplicates of attacked ones.
    """

    victims: S
    auxiliary: S
    validation: S
    removed: int
    alike: int = 0

    @property
    def hers(self) -> Rows:
        """All of the adversary's own signals, those to choose by at the end."""
        return self.auxiliary.with_more(self.validation)


def content(pixels: np.ndarray) -> str:
    """SHA-256 of a picture's shape ``[C, H, W]`` and its bytes, in hex."""
    return hashlib.sha256(str(tuple(pixels.shape)).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def sample(count: int, limit: int | None, seed: int) -> Tensor:
    """At most ``limit`` of the numbers below ``count``, in random order."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:limit]
