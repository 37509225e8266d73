"""Systems with a leak of known size, for attacks to find."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from atm.link import Link, Transmission
from atm.policy import MergePolicy
from atm.tokens import TokenBatch
from attacks.base import to_patches
from tests.atm.models import tiny_encoder

GRID = (4, 4)


class PlantedLink(Link):
    """A link whose tokens are made from the images by a given function ``[B, P, pixels] -> [B, P, d]``."""

    def __init__(self, tokens_of: Callable[[Tensor], Tensor]) -> None:
        super().__init__(tiny_encoder(), MergePolicy.uniform(1.0, 3))
        self.tokens_of = tokens_of

    def transmit(self, images: Tensor, seed: int = 0, batch: int = 128) -> Transmission:
        values = self.tokens_of(to_patches(images, GRID))
        tokens = TokenBatch.dense(torch.cat([values.mean(1, keepdim=True), values], 1), 1)
        symbols, side = self.codec.encode(tokens.with_values(tokens.values[:, :24]), math.inf)
        return Transmission(
            tokens,
            symbols,
            side,
            symbols,
            tokens,
            torch.zeros(len(images), 5),
            torch.zeros(len(images)),
            tokens.lengths,
            math.inf,
        )


def rotation(width: int = 192, seed: int = 0) -> Tensor:
    return torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(seed)))[0]


def pictures(count: int, seed: int = 0) -> Tensor:
    """Smooth random pictures ``[count, 3, 32, 32]`` with some structure in every patch."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 9, 9, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bicubic").clamp(0, 1)
