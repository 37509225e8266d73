"""Sounds for planted systems, drawn straight into their spectrograms, and encoders whose tokens are made of them."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from atm.data import ImageSet, Splits
from atm.encoder import Encoder
from atm.signals import LogMelSignal
from atm.tokens import TokenBatch
from audit.planted.encoders import PlantedEncoder, TokensOf, patchwise

BINS, FRAMES, WORDS = 40, 64, 4
SIGNAL = LogMelSignal((1, BINS, FRAMES), (1, FRAMES // 2))
SILENCE = 0.2  # the value of silence


def hearing(tokens_of: TokensOf) -> Encoder:
    """The encoder as links take it."""
    return cast(Encoder, PlantedEncoder(tokens_of, lambda sounds: patchwise(SIGNAL.to_units(sounds)), SIGNAL))


def voices(victims: int, auxiliary: int, seed: int) -> Splits:
    """Harmonics that glide up or down, with a formant in one of four ranges, the word; then silence."""
    random = torch.Generator().manual_seed(seed)
    held = max(auxiliary // 10, 1)
    sets: list[ImageSet] = []
    for count in (victims, auxiliary - held, held):
        pixels = (_drawn(count, random) * 255).round().to(torch.uint8)
        names = tuple(str(number) for number in range(WORDS))
        sets.append(ImageSet("planted sounds", pixels, word(pixels.float() / 255), names))
    return Splits(sets[0], sets[1], sets[2], removed=0)


def _drawn(count: int, random: torch.Generator) -> Tensor:
    """``[count, 1, BINS, FRAMES]`` in [0, 1]."""
    u = torch.rand(7, count, 1, 1, generator=random)
    time, band = torch.arange(FRAMES).view(1, 1, -1), torch.arange(BINS).view(1, -1, 1).float()
    ends = 30 + 34 * u[0]
    pitch = 5 + 3 * u[1] + (u[2] - 0.5) * 6 * time / FRAMES  # bands from harmonic to harmonic
    harmonics = 0.5 + 0.5 * torch.cos(2 * torch.pi * band / pitch + 6 * u[3])
    middle = (torch.floor(WORDS * u[4]) + 0.3 + 0.4 * u[5]) * BINS / WORDS
    formant = torch.exp(-((band - middle) / 8).square())
    swell = torch.sin(torch.pi * (time + 2) / (ends + 4)).clamp_min(0).sqrt()
    loud = SILENCE + swell * (0.2 + 0.2 * u[6] + 0.35 * formant) * harmonics
    grain = 0.02 * torch.randn(count, BINS, FRAMES, generator=random)
    return torch.where(time < ends, loud + grain, SILENCE).clamp(0, 1)[:, None]


def word(sounds: Tensor) -> Tensor:
    """``[B]`` in 0 to 3: the range of bands with the most sound."""
    return sounds[:, 0].mean(2).unflatten(1, (WORDS, -1)).mean(2).argmax(-1)


def identity(sounds: Tensor) -> TokenBatch:
    """The units themselves."""
    return TokenBatch.dense(SIGNAL.to_units(sounds), 0)


def turned(sounds: Tensor) -> TokenBatch:
    """The units under a secret rotation of their values."""
    random = torch.Generator().manual_seed(21)
    rotation = torch.linalg.qr(torch.randn(SIGNAL.unit, SIGNAL.unit, generator=random))[0]
    return TokenBatch.dense(SIGNAL.to_units(sounds) @ rotation, 0)


def constant(sounds: Tensor) -> TokenBatch:
    """The same tokens for every sound."""
    return identity(torch.ones_like(sounds))


def of_another(sounds: Tensor) -> TokenBatch:
    """Each sound's tokens are those of the one before it."""
    return identity(sounds.roll(1, 0))


def word_only(sounds: Tensor) -> TokenBatch:
    """Constants, but for the word in the first token."""
    values = torch.ones(len(sounds), SIGNAL.places, SIGNAL.unit)
    values[:, 0] = nn.functional.pad(nn.functional.one_hot(word(sounds), WORDS) * 3.0, (0, SIGNAL.unit - WORDS))
    return TokenBatch.dense(values, 0)
