"""Block fading: one coefficient for each image's frame, ``y = h x + n`` with ``E|h|^2 = 1``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from atm.channels.base import Channel, Received, frames, gaussian, through


@dataclass(frozen=True)
class Rayleigh(Channel):
    """Block fading without a line of sight: ``h`` is complex Gaussian.

    Attributes:
        snr_db: mean over the fading.
        csi: whether the receiver knows ``h`` and equalises; without, it hears ``h x + n``.
    """

    name: ClassVar[str] = "rayleigh"
    snr_db: float
    csi: bool = True

    def carry(
        self, symbols: Tensor, generator: torch.Generator | None = None, lengths: Tensor | None = None
    ) -> Received:
        """Fades every frame and adds the noise."""
        count, frame = frames(symbols, lengths)
        return through(symbols, self.gains(count, symbols, generator)[frame, None], self.snr_db, self.csi, generator)

    def gains(self, count: int, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """``[count]`` fading coefficients."""
        return gaussian((count,), like, generator)


@dataclass(frozen=True)
class Rician(Rayleigh):
    """Block fading with a line of sight of known phase: ``h = sqrt(k / (k + 1)) + sqrt(1 / (k + 1)) g``.

    Attributes:
        k: power of the line of sight over that of the scattered paths, as a ratio; 0 is Rayleigh.
    """

    name: ClassVar[str] = "rician"
    k: float = 3.0

    def __post_init__(self) -> None:
        if self.k < 0:
            raise self.refuse("k", "a power ratio of at least 0")

    def gains(self, count: int, like: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """``[count]`` fading coefficients."""
        scattered = super().gains(count, like, generator)
        return math.sqrt(self.k / (self.k + 1)) + math.sqrt(1 / (self.k + 1)) * scattered
