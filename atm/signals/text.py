"""Sentences: numbers of words, as a victim's tokenizer cuts them, and `NO_WORD` behind the end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from atm.signals.base import Signal
from privacy_metrics.leakage import Bar
from privacy_metrics.words import NO_WORD

SHORTEST = 3  # words, below which there is nothing to rebuild
Cut = Callable[[Sequence[str]], list[list[int]]]
Join = Callable[[Sequence[int]], str]
AT_ONCE = 1024  # words that are compared with the whole vocabulary at a time


@dataclass(frozen=True, eq=False)
class TextSignal(Signal):
    """Sentences of at most so many words, ``[B, L]`` int64; a run keeps them as text with one word a line.

    A word's unit is its embedding, centred and of length 1, and zeros where there is none. Tokenizer and embeddings are
    those of a pretrained model, and taken to be known to everybody.

    Attributes:
        longest: words of a sentence at most, its places.
        pieces: the vocabulary, by number.
        table: ``[V, u]`` float, the unit of every word.
        cut: sentences as people write them to the numbers of their words, however many.
        join: and back.
    """

    name: ClassVar[str] = "text"
    noun: ClassVar[str] = "sentence"
    part: ClassVar[str] = "word"
    parts: ClassVar[str] = "words"
    content: ClassVar[str] = "words"
    leakage: ClassVar[str] = "rouge_l"
    # Two sentences have a tenth to a third of their words in common anyway, so more is owed than of pictures.
    bar: ClassVar[Bar] = Bar(0.5, owed=0.2, near_copy=0.9, clear=0.5)
    suffix: ClassVar[str] = "txt"
    fills: ClassVar[bool] = False
    smooth: ClassVar[bool] = False

    longest: int
    pieces: tuple[str, ...]
    table: Tensor
    cut: Cut
    join: Join

    @classmethod
    def of(cls, longest: int, pieces: Sequence[str], embeddings: Tensor, cut: Cut, join: Join) -> TextSignal:
        """Of a victim's embeddings ``[V, u]``."""
        return cls(longest, tuple(pieces), normalize(embeddings - embeddings.mean(0), dim=-1), cut, join)

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """``(longest,)``."""
        return (self.longest,)

    @property
    def places(self) -> int:
        """Words of a sentence at most."""
        return self.longest

    @property
    def unit(self) -> int:
        """Numbers of an embedding."""
        return self.table.shape[1]

    def blank(self, count: int) -> Tensor:
        """``[count, L]`` without a word."""
        return torch.full((count, self.longest), NO_WORD)

    def to_units(self, signals: Tensor) -> Tensor:
        """``[B, L]`` -> ``[B, L, u]``."""
        known = self.table.to(signals.device)[signals.clamp_min(0)]
        return known.masked_fill((signals == NO_WORD)[..., None], 0.0)

    def from_units(self, units: Tensor) -> Tensor:
        """``[B, L, u]`` -> ``[B, L]``: the word whose unit points the most the same way; none where there are zeros."""
        there = units.abs().sum(-1) > 0
        words, table = torch.full(there.shape, NO_WORD, device=units.device), self.table.to(units.device)
        asked = units[there]
        found = [(part.to(table) @ table.T).argmax(-1) for part in asked.split(AT_ONCE)]
        words[there] = torch.cat(found) if found else words[there]
        return words

    def clip(self, signals: Tensor) -> Tensor:
        """Numbers of words of the vocabulary."""
        return signals.clamp(NO_WORD, len(self.pieces) - 1)

    def loss(self, estimate: Tensor, truth: Tensor) -> Tensor:
        """Cross-entropy of scores ``[B, L, V]`` where there are words in ``[B, L]``."""
        return cross_entropy(estimate.flatten(0, 1), truth.flatten(), ignore_index=NO_WORD)

    def fault(self, signals: Tensor, count: int) -> str | None:
        """Another shape, no whole numbers, or numbers of no word."""
        if signals.shape != (count, self.longest) or signals.dtype != torch.long:
            wanted = f"int64 {[count, self.longest]}"
            return f"sentences {str(signals.dtype).removeprefix('torch.')} {list(signals.shape)}, expected {wanted}"
        if int(signals.min()) < NO_WORD or int(signals.max()) >= len(self.pieces):
            return f"words that are none of the {len(self.pieces)}"
        return None

    def store(self, signals: Tensor) -> list[bytes]:
        """A word a line; an empty line where there is none before the last one."""
        return ["\n".join(self.written(row)).encode() for row in signals.cpu()]

    def written(self, words: Tensor) -> list[str]:
        """The pieces of one sentence ``[L]``, empty ones where there is none before the last one."""
        pieces = ["" if word == NO_WORD else self.pieces[word] for word in words.tolist()]
        while pieces and not pieces[-1]:
            pieces.pop()
        return pieces

    def joined(self, words: Tensor) -> str:
        """One sentence ``[L]`` as people write it."""
        return self.join([word for word in words.tolist() if word != NO_WORD])

    @classmethod
    def restore(cls, files: Sequence[bytes]) -> Tensor:
        """``[B, longest]``, equal words with equal numbers, which are no longer those of the vocabulary."""
        sentences = [file.decode().split("\n") for file in files]
        words = torch.full((len(sentences), max(map(len, sentences), default=0)), NO_WORD)
        for row, pieces in zip(words, sentences, strict=True):
            row[: len(pieces)] = torch.tensor([_number(piece) if piece else NO_WORD for piece in pieces])
        return words


def _number(piece: str) -> int:
    """The same for the same word wherever it is read, and with near certainty for no other."""
    return int.from_bytes(hashlib.blake2b(piece.encode(), digest_size=7).digest())
