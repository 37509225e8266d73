"""What is on the wire: one table, from which bandwidth, what the server gets and what an adversary sees all follow.

Token values travel as analogue or digital symbols through the noisy channel. Everything else that the server needs to
make sense of them travels in a header, under the most robust modulation and code of the digital codec (QPSK, rate 1/3),
and is taken to arrive without error: by the server, and by whoever listens. That errs towards caution.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from atm.errors import KnowledgeError
from atm.knowledge import Knowledge
from atm.signals import ImageSignal, Signal
from atm.tokens import NOWHERE, TokenBatch

HEADER_BITS_PER_SYMBOL = 2 / 3  # QPSK of two bits at a code rate of 1/3
SIDE_BITS = 32  # of each number that a codec sends beside its symbols


@dataclass(frozen=True)
class Field:
    """A line of the table.

    Attributes:
        name: of the field.
        carries: what it says, with the words of a kind of signal in braces.
        protected: how it travels.
        seen_by: who sees it.
        tells: what whoever sees it therefore knows.
        bits: ``[B]`` float64 for the tokens and the side information of some images; None where it takes symbols.
    """

    name: str
    carries: str
    protected: str
    seen_by: str
    tells: Knowledge = Knowledge.NOTHING
    bits: Callable[[TokenBatch, Tensor], Tensor] | None = None


def _length_bits(tokens: TokenBatch, side: Tensor) -> Tensor:
    longest = tokens.prefix + _patches(tokens)
    return torch.full((len(tokens),), longest + 1.0, dtype=torch.float64).log2().ceil()


def _side_bits(tokens: TokenBatch, side: Tensor) -> Tensor:
    return torch.full((len(tokens),), float(SIDE_BITS * side.shape[1]), dtype=torch.float64)


def _size_bits(tokens: TokenBatch, side: Tensor) -> Tensor:
    """Of the number of ways to divide the patches that arrived among the tokens that hold them."""
    held, holding = _held(tokens)
    return _choice_bits(held - 1, holding - 1)


def _padding_bits(tokens: TokenBatch, side: Tensor) -> Tensor:
    return (tokens.lengths.double() + 1).log2().ceil()


def _arrived_bits(tokens: TokenBatch, side: Tensor) -> Tensor:
    return torch.full((len(tokens),), _patches(tokens) + 1.0, dtype=torch.float64).log2().ceil()


def _place_bits(tokens: TokenBatch, side: Tensor) -> Tensor:
    """Of the number of ways to choose the places of the tokens that are no padding among all, in order."""
    free = (tokens.lengths - tokens.prefix).double()
    if tokens.padding is not None:
        padding = tokens.padding.cpu().double()
        free -= torch.zeros_like(free).index_add(0, tokens.image_of_token.cpu(), padding)
    return _choice_bits(torch.full_like(free, float(_patches(tokens))), free)


HEADER, ALL = "header, free of error", "everyone on the air, and the server"
SYMBOLS = Field("symbols", "the values of the tokens", "the codec, over the channel", ALL)
LENGTH = Field("length", "how many tokens the frame has, padding included", HEADER, ALL, bits=_length_bits)
SIDE = Field("side", "what the codec sends beside its symbols", HEADER, ALL, bits=_side_bits)
SIZES = Field("sizes", "how many {parts} each token stands for", HEADER, ALL, Knowledge.SIZES, _size_bits)
ARRIVED = Field("arrived", "how many {parts} the tokens stand for together", HEADER, ALL, bits=_arrived_bits)
PADDING = Field("padding", "how many of the tokens are padding", HEADER, "the server", bits=_padding_bits)
PLACES = Field("places", "where each token stood in the {noun}", HEADER, ALL, Knowledge.ORDER, _place_bits)


@dataclass(frozen=True)
class Wire:
    """The fields that one link sends.

    Attributes:
        fields: in the order of a frame.
    """

    fields: tuple[Field, ...]

    @classmethod
    def of(cls, *, side: bool, sizes: bool, padding: bool, places: bool, drops: bool = False) -> Wire:
        """The wire of a link whose server needs some fields beside symbols and length.

        Where tokens may be dropped, sizes say nothing without how many patches they divide.
        """
        wanted = {SIDE: side, SIZES: sizes, ARRIVED: sizes and drops, PADDING: padding, PLACES: places}
        return cls((SYMBOLS, LENGTH, *(field for field, there in wanted.items() if there)))

    @cached_property
    def tells(self) -> Knowledge:
        """What everyone who hears the frames knows for that."""
        told = Knowledge.NOTHING
        for field in self.fields:
            told |= field.tells
        return told

    def header_symbols(self, tokens: TokenBatch, side: Tensor) -> Tensor:
        """``[B]`` int64: channel uses of each image's header.

        Args:
            tokens: as they leave the device.
            side: ``[B, s]``, of the codec.
        """
        bits = sum(
            (field.bits(tokens, side) for field in self.fields if field.bits is not None),
            torch.zeros(len(tokens), dtype=torch.float64),
        )
        return (bits / HEADER_BITS_PER_SYMBOL).ceil().long()

    def delivered(self, sent: TokenBatch) -> TokenBatch:
        """What of the sender's tokens reaches the server beside their values, which are to be replaced.

        Where sizes are not sent but padding is, real tokens have size 1 and padding 0.
        """
        sizes = sent.sizes if SIZES in self.fields else None
        if sizes is None and PADDING in self.fields and sent.sizes is not None:
            sizes = (sent.sizes > 0).to(sent.sizes)
        return replace(sent, sizes=sizes, source=None, places=sent.places if PLACES in self.fields else None)

    def refuse(self, name: str, knows: Knowledge) -> None:
        """Raise `KnowledgeError` for an adversary who cannot be: she is denied an order that the wire tells."""
        if PLACES in self.fields and Knowledge.ORDER not in knows:
            raise KnowledgeError(
                f"threat model {name!r} denies the order of the tokens, but this victim's attention needs their places "
                "and they are on the wire: grant 'order', or choose a victim with absolute positions"
            )

    def as_rows(self, signal: type[Signal] = ImageSignal) -> list[dict[str, str]]:
        """The table in words, those of a kind of signal, for reports."""
        words = {"noun": signal.noun, "parts": signal.parts}
        return [
            {"field": f.name, "carries": f.carries.format_map(words), "protected": f.protected, "seen by": f.seen_by}
            for f in self.fields
        ]


def _patches(tokens: TokenBatch) -> int:
    """Patches of an image."""
    if tokens.source is not None:
        return int(tokens.source.shape[1])
    return int(max(tokens.counts)) - tokens.prefix


def _held(tokens: TokenBatch) -> tuple[Tensor, Tensor]:
    """``[B]`` float64 each: patches that arrived, and tokens that hold some."""
    if tokens.source is None:
        free = (tokens.lengths - tokens.prefix).double()
        return free, free
    arrived = (tokens.source != NOWHERE).sum(1).cpu().double()
    ordered = tokens.source.sort(1).values
    starts = torch.cat([torch.ones_like(ordered[:, :1], dtype=torch.bool), ordered[:, 1:] != ordered[:, :-1]], 1)
    return arrived, (starts & (ordered != NOWHERE)).sum(1).cpu().double()


def _choice_bits(n: Tensor, k: Tensor) -> Tensor:
    """``[B]`` float64: bits that number the ways to choose k of n, in whole numbers, since logarithms round up powers
    of two; 0 where n or k is below 0.
    """
    pairs = zip(n.clamp_min(0).long().tolist(), k.clamp_min(0).long().tolist(), strict=True)
    return torch.tensor([float((math.comb(n, min(k, n)) - 1).bit_length()) for n, k in pairs], dtype=torch.float64)
