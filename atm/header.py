"""A frame's header as bits: every field of `atm.wire` in as many as it counts, and what a receiver reads of them.

Choices and divisions are numbered (Cover 1973, "Enumerative source encoding"): a set of places by its rank among all
sets of as many, a division of patches among tokens by the set of its boundaries.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from atm.errors import AtmError
from atm.tokens import TokenBatch
from atm.wire import ARRIVED, PADDING, PLACES, SIDE, SIDE_BITS, SIZES, Wire


class HeaderError(AtmError):
    """A header that no device of this system can have sent."""


@dataclass(frozen=True)
class Header:
    """How the headers of one link are written and read, each of one image.

    Attributes:
        wire: the link's fields.
        prefix: protected tokens of every image.
        patches: of an image.
        side: numbers that the codec sends beside its symbols.
    """

    wire: Wire
    prefix: int
    patches: int
    side: int

    def write(self, tokens: TokenBatch, side: Tensor) -> tuple[bytes, int]:
        """The header of one image's tokens, and how many bits of it count.

        Args:
            tokens: of one image, as they leave the device.
            side: ``[1, s]``, of the codec.

        Raises:
            AtmError: padding stands before tokens that are none, which no field can tell.
        """
        bits, total = _Writer(), tokens.counts[0]
        sizes = [1] * total if tokens.sizes is None else [round(size) for size in tokens.sizes.tolist()]
        real = total - sizes.count(0)
        if 0 in sizes[:real]:
            raise AtmError("the defence puts padding before other tokens, which the wire cannot tell; pad at the end")
        bits.put(total % 2**self._length_bits, self._length_bits)
        if PADDING in self.wire.fields:
            bits.put(total - real, _bits_below(total + 1))
        if SIDE in self.wire.fields:
            for number in side[0].tolist():
                bits.put(int.from_bytes(struct.pack(">f", number), "big"), SIDE_BITS)
        held = sizes[self.prefix : real]
        if SIZES in self.wire.fields:
            arrived = sum(held)
            if arrived != self.patches and ARRIVED not in self.wire.fields:
                raise AtmError("the defence leaves tokens out and does not say so (atm.defence.Defence.drops)")
            if ARRIVED in self.wire.fields:
                bits.put(arrived, _bits_below(self.patches + 1))
            cuts = [sum(held[: i + 1]) - 1 for i in range(len(held) - 1)]
            bits.put(rank(cuts), _bits_below(_ways(arrived - 1, len(held) - 1)))
        if PLACES in self.wire.fields:
            assert tokens.places is not None
            places = [place - self.prefix for place in tokens.places[self.prefix : real].tolist()]
            bits.put(rank(places), _bits_below(_ways(self.patches, len(places))))
        return bits.bytes(), bits.count

    def read(self, data: bytes, total: int) -> tuple[TokenBatch, Tensor, int]:
        """What a receiver knows of a frame of so many tokens beside their symbols.

        Returns:
            The tokens ``[total, 0]`` without values, with the sizes and places that are on the wire; side information
            ``[1, s]``; and how many bits counted.

        Raises:
            HeaderError: the header does not fit the tokens, or is none of this link's.
        """
        bits = _Reader(data)
        if bits.take(self._length_bits) != total % 2**self._length_bits or total <= self.prefix:
            raise HeaderError(f"a frame of {total} tokens has a header for another number")
        padding = bits.take(_bits_below(total + 1)) if PADDING in self.wire.fields else 0
        real = total - padding
        if not self.prefix < real <= self.prefix + self.patches:
            raise HeaderError(f"{real} tokens cannot come of {self.patches} patches")
        numbers = [bits.float() for _ in range(self.side)] if SIDE in self.wire.fields else []
        sizes = [1.0] * real + [0.0] * padding
        if SIZES in self.wire.fields:
            sizes[self.prefix : real] = self._divided(bits, real - self.prefix)
        places = None
        if PLACES in self.wire.fields:
            chosen = chosen_of(bits.below(_ways(self.patches, real - self.prefix)), real - self.prefix)
            placed = [*range(self.prefix), *(place + self.prefix for place in chosen), *[0] * padding]
            places = torch.tensor(placed)
        bits.end()
        known = SIZES in self.wire.fields or PADDING in self.wire.fields
        tokens = TokenBatch(
            values=torch.zeros(total, 0),
            lengths=torch.tensor([total]),
            sizes=torch.tensor(sizes) if known else None,
            prefix=self.prefix,
            places=places,
        )
        return tokens, torch.tensor(numbers, dtype=torch.float32).reshape(1, -1), bits.count

    @property
    def most_bytes(self) -> int:
        """Of any header of this link, a rough upper bound."""
        return 64 + self.side * SIDE_BITS // 8 + self.patches

    @property
    def _length_bits(self) -> int:
        """The field has room for an unpadded frame; of a longer one it says the rest, and its duration the whole."""
        return _bits_below(self.prefix + self.patches + 1)

    def _divided(self, bits: _Reader, holding: int) -> list[float]:
        arrived = bits.take(_bits_below(self.patches + 1)) if ARRIVED in self.wire.fields else self.patches
        if not holding <= arrived <= self.patches:
            raise HeaderError(f"{arrived} patches cannot be divided among {holding} tokens")
        cuts = chosen_of(bits.below(_ways(arrived - 1, holding - 1)), holding - 1)
        edges = [0, *(cut + 1 for cut in cuts), arrived]
        return [float(after - before) for before, after in pairwise(edges)]


def rank(chosen: list[int]) -> int:
    """The number of an ascending set of whole numbers from 0 among all sets of as many."""
    return sum(math.comb(place, count) for count, place in enumerate(chosen, 1))


def chosen_of(number: int, count: int) -> list[int]:
    """The inverse of `rank` for a set of so many."""
    found: list[int] = []
    for left in range(count, 0, -1):
        place, above = left - 1, left
        while math.comb(above, left) <= number:  # by doubling, then by halves
            place, above = above, 2 * above
        while above - place > 1:
            middle = (place + above) // 2
            place, above = (middle, above) if math.comb(middle, left) <= number else (place, middle)
        found.append(place)
        number -= math.comb(place, left)
    return found[::-1]


def _ways(n: int, k: int) -> int:
    return math.comb(max(n, 0), min(max(k, 0), max(n, 0)))


def _bits_below(ways: int) -> int:
    return (ways - 1).bit_length()


class _Writer:
    def __init__(self) -> None:
        self.value, self.count = 0, 0

    def put(self, value: int, bits: int) -> None:
        assert 0 <= value < 1 << bits
        self.value, self.count = self.value << bits | value, self.count + bits

    def bytes(self) -> bytes:
        """The bits, the first one highest, and zeros up to a whole byte."""
        size = -(-self.count // 8)
        return (self.value << 8 * size - self.count).to_bytes(size, "big")


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.value, self.size, self.count = int.from_bytes(data, "big"), 8 * len(data), 0

    def take(self, bits: int) -> int:
        self.count += bits
        if self.count > self.size:
            raise HeaderError(f"a header of {self.size} bits ends too early")
        return self.value >> self.size - self.count & (1 << bits) - 1

    def below(self, ways: int) -> int:
        number = self.take(_bits_below(ways))
        if number >= ways:
            raise HeaderError("a header numbers a choice that there is not")
        return number

    def float(self) -> float:
        number = float(struct.unpack(">f", self.take(SIDE_BITS).to_bytes(4, "big"))[0])
        if not math.isfinite(number):
            raise HeaderError("a header holds a number that is NaN or infinite")
        return number

    def end(self) -> None:
        if self.size - self.count >= 8 or self.value & (1 << self.size - self.count) - 1:
            raise HeaderError("a header has bits behind its end")
