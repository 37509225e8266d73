"""No noise, and white Gaussian noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor

from atm.channels.base import Channel, Received, noise
from atm.errors import AtmError


@dataclass(frozen=True)
class Noiseless(Channel):
    """``y = x``."""

    name: ClassVar[str] = "noiseless"
    snr_db: float = field(default=math.inf, init=False)

    @classmethod
    def parse(cls, argument: str) -> Self:
        """Takes no parameters."""
        if argument:
            raise AtmError(f"channel 'noiseless' takes no parameters, got {argument!r}")
        return cls()

    def carry(
        self, symbols: Tensor, generator: torch.Generator | None = None, lengths: Tensor | None = None
    ) -> Received:
        """The symbols themselves."""
        return Received(symbols, self.snr_db)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Awgn(Channel):
    """``y = x + n`` with ``n`` circularly symmetric complex Gaussian of variance ``10^(-snr_db / 10)``."""

    name: ClassVar[str] = "awgn"
    snr_db: float

    def carry(
        self, symbols: Tensor, generator: torch.Generator | None = None, lengths: Tensor | None = None
    ) -> Received:
        """Adds the noise."""
        return Received(symbols + noise(symbols, self.snr_db, generator), self.snr_db)
