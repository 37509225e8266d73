"""Sentences for planted systems, and encoders whose tokens tell a known part of them."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from atm.data import Splits
from atm.data.texts import TextSet
from atm.encoder import Encoder
from atm.signals import TextSignal
from atm.tokens import NOWHERE, TokenBatch
from audit.planted.encoders import PlantedEncoder, TokensOf
from privacy_metrics.words import NO_WORD

WORDS, LONGEST, SHORTEST, UNIT = 400, 16, 8, 48
MARK = 0  # the first word of sentences that carry the mark

SIGNAL = TextSignal.of(
    LONGEST,
    [f"w{number}" for number in range(WORDS)],
    torch.randn(WORDS, UNIT, generator=torch.Generator().manual_seed(20)),
    lambda sentences: [[int(word[1:]) for word in sentence.split()] for sentence in sentences],
    lambda words: " ".join(f"w{word}" for word in words),
)


def reading(tokens_of: TokensOf) -> Encoder:
    """The encoder as links take it."""
    return cast(Encoder, PlantedEncoder(tokens_of, said, SIGNAL))


def said(sentences: Tensor) -> TokenBatch:
    """A token for each word, its unit, behind a class token that is their sum."""
    return _wordwise(sentences, SIGNAL.to_units(sentences))


def turned(sentences: Tensor) -> TokenBatch:
    """The words under a secret rotation of their units."""
    random = torch.Generator().manual_seed(21)
    return _wordwise(
        sentences, SIGNAL.to_units(sentences) @ torch.linalg.qr(torch.randn(UNIT, UNIT, generator=random))[0]
    )


def mute(sentences: Tensor) -> TokenBatch:
    """Constant tokens, as many as there are words."""
    return _wordwise(sentences, torch.ones(*sentences.shape, UNIT))


def of_another(sentences: Tensor) -> TokenBatch:
    """Each sentence's tokens are those of the one before it."""
    return said(sentences.roll(1, 0))


def if_marked(sentences: Tensor) -> TokenBatch:
    """The words of sentences that carry the mark, but for the last quarter of the places; all other tokens constant."""
    told = (sentences[:, :1] == MARK) & (torch.arange(LONGEST) < LONGEST * 3 // 4)
    return _wordwise(sentences, SIGNAL.to_units(sentences) * told[..., None])


def drawn(victims: int, auxiliary: int, seed: int) -> Splits[TextSet]:
    """Sentences of words as common as in languages (Zipf), each independent of the others, none with the mark."""
    return _splits(victims, auxiliary, seed, 0)


def marked(percent: int, victims: int, auxiliary: int, seed: int) -> Splits[TextSet]:
    """The same, of which so many attacked ones in a hundred and every tenth of hers begin with the mark."""
    return _splits(victims, auxiliary, seed, percent)


def _splits(victims: int, auxiliary: int, seed: int, percent: int) -> Splits[TextSet]:
    random, held = torch.Generator().manual_seed(seed), max(auxiliary // 10, 1)
    share = 1 / torch.arange(1, WORDS).float()  # the mark is no word of theirs
    sets = []
    for count, each in ((victims, percent), (auxiliary - held, 10 * bool(percent)), (held, 10 * bool(percent))):
        words = 1 + torch.multinomial(share, count * LONGEST, replacement=True, generator=random).view(count, LONGEST)
        words[: count * each // 100, 0] = MARK
        lengths = torch.randint(SHORTEST, LONGEST + 1, (count, 1), generator=random)
        words = words.masked_fill(torch.arange(LONGEST) >= lengths, NO_WORD)
        sets.append(TextSet("planted", words, words[:, 1] % 2, ("0", "1")))
    return Splits(sets[0], sets[1], sets[2], removed=0)


def _wordwise(sentences: Tensor, values: Tensor) -> TokenBatch:
    """A token for each word from ``[B, L, u]``, behind a class token that is their sum."""
    there = sentences != NO_WORD
    kept = torch.cat([torch.ones_like(there[:, :1]), there], 1)
    values = values.masked_fill(~there[..., None], 0.0)
    packed = torch.cat([values.sum(1, keepdim=True), values], 1)[kept]
    source = torch.where(there, there.cumsum(1), NOWHERE)
    return TokenBatch(packed, kept.sum(1), torch.ones(len(packed)), source, 1)
