"""Labelled pictures in memory or mapped from disk, and their division between victims and adversary."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from atm.rows import Pixels


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled pictures of one size.

    Attributes:
        name: of the data set.
        pixels: ``[N, C, H, W]`` uint8, C being 1 or 3; of a large set they are mapped from the cache on disk, so take
            slices or `batches` of them and not all at once.
        labels: ``[N]`` int64, indices into ``classes``.
        classes: names of the class folders, whether or not a picture of theirs is among these ones.
        skipped: one line for each kind of file that could not be used.
        notes: one line for each kind of change that pictures went through (transparency, sizes, frames).
        copies: pictures that were left out because their pixels were there already.
    """

    name: str
    pixels: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    copies: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Tensor:
        """All pictures, ``[N, C, H, W]`` float in [0, 1]: four times the memory of ``pixels``; see `batches`."""
        return self.pixels.float() / 255

    @property
    def rows(self) -> Pixels:
        """All pictures, ``[N, C, H, W]`` float in [0, 1], of which only what is asked for is in memory."""
        return Pixels([self.pixels])

    def batches(self, size: int) -> Iterator[Tensor]:
        """The pictures in order, ``[B, C, H, W]`` float in [0, 1], ``size`` at a time and the rest at the end."""
        for begin in range(0, len(self), size):
            yield self.pixels[begin : begin + size].float() / 255

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """SHA-256 of each picture's shape and pixels, in hex."""
        return tuple(content(image.numpy()) for image in self.pixels)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all pictures and labels, in hex."""
        labels = np.ascontiguousarray(self.labels.numpy().astype("<i8"))
        return hashlib.sha256("".join(self.hashes).encode() + labels.tobytes()).hexdigest()

    def subset(self, rows: Sequence[int] | Tensor) -> ImageSet:
        """Some of the pictures, in the order asked for; consecutive ones share memory with these."""
        wanted = torch.as_tensor(rows, dtype=torch.long)
        first = int(wanted[0]) if len(wanted) else -1
        consecutive = first >= 0 and torch.equal(wanted, torch.arange(first, first + len(wanted)))
        part = slice(first, first + len(wanted)) if consecutive else wanted
        chosen = replace(self, pixels=self.pixels[part], labels=self.labels[part])
        if "hashes" in self.__dict__:
            chosen.__dict__["hashes"] = tuple(self.hashes[row] for row in wanted.tolist())
        return chosen

    def distinct(self, seen: Sequence[str] = ()) -> ImageSet:
        """The first one of all pictures with the same pixels; none whose hash is among ``seen``."""
        known, rows = set(seen), []
        for row, found in enumerate(self.hashes):
            if found not in known:
                known.add(found)
                rows.append(row)
        return replace(self.subset(rows), copies=self.copies + len(self) - len(rows))


@dataclass(frozen=True)
class Splits:
    """Pictures for an attack, each one of another content than all others.

    Attributes:
        victims: the attacked ones.
        auxiliary: the adversary's own.
        validation: more of the adversary's own, to choose parameters and checkpoints by.
        removed: pictures, of either side, that were left out because the same pixels are elsewhere.
        alike: pictures of the adversary's that were left out because they are near-duplicates of attacked ones.
    """

    victims: ImageSet
    auxiliary: ImageSet
    validation: ImageSet
    removed: int
    alike: int = 0

    @property
    def hers(self) -> Pixels:
        """All of the adversary's own pictures, those to choose by at the end."""
        return Pixels([self.auxiliary.pixels, self.validation.pixels])


def content(pixels: np.ndarray) -> str:
    """SHA-256 of a picture's shape ``[C, H, W]`` and its bytes, in hex."""
    return hashlib.sha256(str(tuple(pixels.shape)).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def sample(count: int, limit: int | None, seed: int) -> Tensor:
    """At most ``limit`` of the numbers below ``count``, in random order."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:limit]
