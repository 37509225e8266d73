"""Tensors by rows: ``[N, ...]`` of which only what is asked for is in memory.

Fifty thousand pictures of 224 pixels are 30 GB as floats, and what a ViT-B/16 sends of them is 30 GB more for each
policy. So an adversary's pictures, and what she sees of them, are read where they are needed.
"""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from atm.cache import cache_folder
from atm.errors import StorageError

IN_MEMORY = 2**28  # bytes; what is larger goes to a file
Index = Tensor | slice | int


class Rows(ABC):
    """A tensor of which rows are read when they are asked for.

    Attributes:
        shape: ``[N, ...]``.
        device: where rows come to.
    """

    shape: torch.Size
    device: torch.device

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Index) -> Tensor:
        """A row by its number, or ``[n, ...]`` by their numbers from 0 on, a slice or a mask.

        Raises:
            IndexError: there is no such row.
        """
        if isinstance(rows, int):
            return self[torch.tensor([rows if rows >= 0 else rows + len(self)])][0]
        wanted = torch.arange(*rows.indices(len(self))) if isinstance(rows, slice) else rows
        if wanted.dtype == torch.bool:
            wanted = wanted.nonzero().squeeze(1)
        if len(wanted) and not (int(wanted.min()) >= 0 and int(wanted.max()) < len(self)):
            raise IndexError(f"rows {int(wanted.min())} to {int(wanted.max())} of {len(self)}")
        return self._read(wanted.flatten()).view(*wanted.shape, *self.shape[1:])

    def split(self, size: int) -> Iterator[Tensor]:
        """All rows in order, so many at a time and the rest at the end."""
        for begin in range(0, len(self), size):
            yield self[begin : begin + size]

    def batches(self, most: int = 512) -> tuple[Tensor, ...]:
        """The numbers of all rows in order, in parts of at most so many rows and `IN_MEMORY` / 4 bytes of float32."""
        return torch.arange(len(self)).split(few(self.shape[1:].numel(), most))

    def mean(self, dim: int = 0) -> Tensor:
        """The mean of all rows; of no other dimension."""
        if dim != 0:
            raise ValueError(f"mean over dimension {dim} of rows, expected 0")
        return torch.stack([self[part].double().sum(0) for part in self.batches()]).sum(0).div(len(self)).float()

    @abstractmethod
    def to(self, device: torch.device) -> Rows:
        """The same, whose rows come to another device."""

    @abstractmethod
    def _read(self, rows: Tensor) -> Tensor:
        """``[n, ...]`` by their numbers ``[n]``, on the device."""


def few(numbers: int, most: int = 512) -> int:
    """How many things of so many float32 numbers are handled at a time: at most ``most``, in `IN_MEMORY` / 4 bytes."""
    return max(1, min(most, IN_MEMORY // 16 // max(numbers, 1)))


class Held(Rows):
    """Rows of a tensor in memory."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.shape, self.device = tensor, tensor.shape, tensor.device

    def to(self, device: torch.device) -> Held:
        """On another device."""
        return Held(self.tensor.to(device))

    def mean(self, dim: int = 0) -> Tensor:
        """The mean, of any dimension."""
        return self.tensor.mean(dim)

    def _read(self, rows: Tensor) -> Tensor:
        return self.tensor[rows.to(self.device)]


class Pixels(Rows):
    """Pictures as floats in [0, 1], of bytes ``[N, C, H, W]`` in memory or mapped from files, set behind set."""

    def __init__(self, sets: Sequence[Tensor], device: torch.device | str = "cpu") -> None:
        self.sets, self.device = [each for each in sets if len(each)], torch.device(device)
        self.shape = torch.Size((sum(len(each) for each in self.sets), *sets[0].shape[1:]))

    def to(self, device: torch.device) -> Pixels:
        """The same bytes, for another device."""
        return Pixels(self.sets, device)

    def _read(self, rows: Tensor) -> Tensor:
        rows, begin = rows.cpu(), 0
        out = torch.empty((len(rows), *self.shape[1:]), dtype=torch.uint8)
        for each in self.sets:
            own = (rows >= begin) & (rows < begin + len(each))
            out[own] = each[rows[own] - begin]
            begin += len(each)
        return out.to(self.device).float() / 255


class Filed(Rows):
    """Rows in an open file, which may have no name and end with its last reader."""

    def __init__(self, file: int, shape: torch.Size, dtype: torch.dtype, device: torch.device) -> None:
        self.file, self.shape, self.dtype, self.device = file, shape, dtype, device

    def to(self, device: torch.device) -> Filed:
        """The same file, for another device."""
        return Filed(os.dup(self.file), self.shape, self.dtype, device)

    def __del__(self) -> None:
        os.close(self.file)

    def _read(self, rows: Tensor) -> Tensor:
        rows, size = rows.cpu(), self.shape[1:].numel() * self.dtype.itemsize
        out = torch.empty(len(rows) * size, dtype=torch.uint8)
        memory = memoryview(out.numpy().data)
        ends = torch.cat([(rows[1:] != rows[:-1] + 1).nonzero().squeeze(1) + 1, torch.tensor([len(rows)])])
        begin = 0
        for end in ends.tolist():
            _fill(self.file, memory[begin * size : end * size], int(rows[begin]) * size if end else 0)
            begin = end
        return out.view(self.dtype).view(len(rows), *self.shape[1:]).to(self.device)


def _fill(file: int, memory: memoryview, offset: int) -> None:
    while len(memory):
        read = os.preadv(file, [memory], offset)
        if not read:
            raise StorageError("a temporary file ended early; was the disk changed meanwhile?")
        memory, offset = memory[read:], offset + read


def kept(parts: Iterable[Tensor]) -> Rows:
    """All rows of tensors that come one after the other, in memory if they take at most `IN_MEMORY` bytes.

    Raises:
        StorageError: they are more, and cannot be written to the cache's folder.
        ValueError: there are no parts.
    """
    held, size, file, count = list[Tensor](), 0, None, 0
    first: Tensor | None = None
    for part in parts:
        first, count = part[:0] if first is None else first, count + len(part)
        held.append(part)
        size += part.numel() * part.element_size()
        if size > IN_MEMORY:
            file = _temporary() if file is None else file
            _write(file, held)
            held, size = [], IN_MEMORY  # whatever comes is written at once
    if first is None:
        raise ValueError("there are no parts, expected at least one")
    if file is None:
        return Held(torch.cat(held))
    return Filed(file, torch.Size((count, *first.shape[1:])), first.dtype, first.device)


def written(parts: Iterable[Tensor], path: Path) -> Filed:
    """All rows of tensors that come one after the other, in a new file.

    Raises:
        StorageError: it cannot be written.
        ValueError: there are no parts.
    """
    first, count = None, 0
    with _writing(path.parent):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        for part in parts:
            first, count = part[:0] if first is None else first, count + len(part)
            _write(file, [part])
        if first is None:
            raise ValueError("there are no parts, expected at least one")
        return Filed(os.dup(file), torch.Size((count, *first.shape[1:])), first.dtype, first.device)
    finally:
        os.close(file)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(f"{folder}: {error.strerror}; set ATM_CACHE to a folder on a disk with room") from None


def _temporary() -> int:
    folder = cache_folder()
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.dup(file.fileno())


def _write(file: int, parts: Sequence[Tensor]) -> None:
    for part in parts:
        memory = memoryview(part.contiguous().cpu().flatten().view(torch.uint8).numpy().data)
        while len(memory):
            with _writing(cache_folder()):
                memory = memory[os.write(file, memory) :]
