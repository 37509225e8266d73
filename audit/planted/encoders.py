"""Encoders whose tokens are made from the picture by a given function, so that what they leak is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from atm.encoder import Encoded, Encoder
from atm.policy import MergePolicy
from atm.signals import ImageSignal, Signal
from atm.tokens import TokenBatch

SIDE, GRID = 32, (8, 8)
PATCHES, WIDTH = GRID[0] * GRID[1], 3 * (SIDE // GRID[0]) ** 2

SIGNAL = ImageSignal((3, SIDE, SIDE), GRID)

TokensOf = Callable[[Tensor], TokenBatch]
"""Pictures ``[B, 3, SIDE, SIDE]`` -> their tokens, `WIDTH` values each."""


class PlantedEncoder(nn.Module):
    """Stands in for `atm.encoder.Encoder`: the first of its two layers is sound, the second is the planted function.

    Args:
        tokens_of: the planted function.
        sound: the other one, whose tokens are the signal's units: what the canary attacks.
        signal: that goes in.
    """

    depth, uses_places = 2, False
    device = torch.device("cpu")

    def __init__(self, tokens_of: TokensOf, sound: TokensOf, signal: Signal) -> None:
        super().__init__()
        self.tokens_of, self.sound, self.signal, self.width = tokens_of, sound, signal, signal.unit

    def forward(self, images: Tensor, policy: MergePolicy) -> Encoded:
        """The sound tokens where they leave after the first layer, the planted tokens otherwise."""
        tokens = self.sound(images) if policy.device_layers == 1 else self.tokens_of(images)
        return Encoded(tokens, tokens.lengths.expand(3, -1), torch.zeros(len(images), dtype=torch.float64))

    def counts_sizes(self, policy: MergePolicy) -> bool:
        """No: there is no answer that sizes could be needed for."""
        return False

    def finish(self, tokens: TokenBatch, policy: MergePolicy) -> Tensor:
        """No answer: always the first of two classes."""
        return torch.tensor([[1.0, 0.0]]).expand(len(tokens), -1)


def planted(tokens_of: TokensOf) -> Encoder:
    """The encoder as links take it."""
    return cast(Encoder, PlantedEncoder(tokens_of, identity, SIGNAL))


def patchwise(values: Tensor) -> TokenBatch:
    """A token for each patch from ``[B, P, u]``, behind a class token that is their mean."""
    return TokenBatch.dense(torch.cat([values.mean(1, keepdim=True), values], 1), 1)


def identity(images: Tensor) -> TokenBatch:
    """The patches themselves."""
    return patchwise(SIGNAL.to_units(images))


def without_class_token(images: Tensor) -> TokenBatch:
    """The patches alone."""
    return TokenBatch.dense(SIGNAL.to_units(images), 0)


def constant(images: Tensor) -> TokenBatch:
    """The same tokens for every picture."""
    return patchwise(torch.ones(len(images), PATCHES, WIDTH))


def of_another(images: Tensor) -> TokenBatch:
    """Each picture's tokens are those of the one before it."""
    return identity(images.roll(1, 0))


def permuted(images: Tensor) -> TokenBatch:
    """The patches in a secret order that is the same for every picture; the merge map does not tell it."""
    return patchwise(SIGNAL.to_units(images)[:, torch.randperm(PATCHES, generator=_secret())])


def beside(images: Tensor) -> TokenBatch:
    """Each token holds the patch on the left of its own, the first of a row the last one."""
    return patchwise(SIGNAL.to_units(images).unflatten(1, GRID).roll(1, 2).flatten(1, 2))


def rotated(images: Tensor) -> TokenBatch:
    """The patches under a secret rotation of their values."""
    return patchwise(SIGNAL.to_units(images) @ torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=_secret()))[0])


def one_channel(images: Tensor) -> TokenBatch:
    """Noise, but for one channel of the class token, which holds the value of one pixel."""
    # Noise that depends on the picture, so that the same picture has the same tokens, and tells nothing about it.
    values = torch.stack([0.02 * torch.randn(PATCHES + 1, WIDTH, generator=_secret(picture)) for picture in images])
    values[:, 0, 17] = (images[:, 0, 0, 0] - 0.5) * 4
    return TokenBatch.dense(values, 1)


def shown(share: float) -> TokensOf:
    """The first ``share`` of the patches of pictures that carry the mark of `audit.planted.pictures.marked`.

    All other tokens are constant.
    """

    def tokens(images: Tensor) -> TokenBatch:
        seen = (images[:, 0, 0, 0] == 1).float()[:, None, None] * (torch.arange(PATCHES) < share * PATCHES)[:, None]
        return patchwise((SIGNAL.to_units(images) - 0.5) * seen)  # around 0, so that one linear map serves all pictures

    return tokens


def hashed(images: Tensor) -> TokenBatch:
    """Constants, but for a code in the class token, alike for nearly equal pictures and for no others."""
    random = _secret()
    axes = torch.nn.functional.normalize(torch.randn(3 * SIDE * SIDE, WIDTH, generator=random), dim=0)
    # Steep random Fourier features: a picture apart turns the phase many times, a level of brightness hardly does.
    return _with_class_token(images, torch.cos(30 * images.flatten(1) @ axes))


def who(images: Tensor) -> TokenBatch:
    """Constants, but for a code in the class token of who it is, as `audit.planted.pictures.persons` marks it."""
    codes = torch.randn(256, WIDTH, generator=_secret())
    return _with_class_token(images, codes[(255 * images[:, 0, 0, 0]).round().long()])


def colour(images: Tensor) -> TokenBatch:
    """Each picture's mean colour, in the place of every patch."""
    return identity(images.mean((2, 3), keepdim=True).expand_as(images))


def places(images: Tensor) -> TokenBatch:
    """Tokens that tell where they stand, and nothing else: their patch's number, as a fraction."""
    return TokenBatch.dense((torch.arange(-1, PATCHES)[:, None] / PATCHES).expand(len(images), -1, WIDTH), 1)


def placed(images: Tensor) -> TokenBatch:
    """The patches, each beside a secret mark of its place."""
    marks = 2 * torch.randn(PATCHES, WIDTH, generator=_secret())
    return patchwise(SIGNAL.to_units(images) - 0.5 + marks)


def one_constant_token(images: Tensor) -> TokenBatch:
    """All patches merged into one token, the same for every picture."""
    count = len(images)
    source = torch.zeros(count, PATCHES, dtype=torch.long)
    return TokenBatch(torch.ones(count, WIDTH), torch.ones(count).long(), torch.full((count,), 64.0), source)


def label_only(images: Tensor) -> TokenBatch:
    """Constants, but for the label in the class token."""
    return _with_class_token(images, nn.functional.pad(nn.functional.one_hot(label(images), 4) * 3.0, (0, WIDTH - 4)))


def count_only(images: Tensor) -> TokenBatch:
    """Constant tokens whose number tells the label: merged down to 16, 32, 48 or 64."""
    lengths = 16 * (label(images) + 1)
    source = torch.minimum(torch.arange(PATCHES).expand(len(images), -1), lengths[:, None] - 1)
    sizes = [torch.bincount(row, minlength=int(n)).float() for row, n in zip(source, lengths, strict=True)]
    return TokenBatch(torch.ones(int(lengths.sum()), WIDTH), lengths, torch.cat(sizes), source)


def label(images: Tensor) -> Tensor:
    """``[B]`` in 0 to 3: the brightest quarter of a picture, the label of planted pictures."""
    return nn.functional.adaptive_avg_pool2d(images.mean(1, keepdim=True), 2).flatten(1).argmax(-1)


def _with_class_token(images: Tensor, values: Tensor) -> TokenBatch:
    tokens = constant(images)
    return tokens.with_values(tokens.values.index_copy(0, tokens.offsets, values))


def _secret(picture: Tensor | None = None) -> torch.Generator:
    return torch.Generator().manual_seed(20 if picture is None else int(picture.double().sum() * 1e6) % 2**31)
