"""Radio channels for complex baseband symbols of unit average power.

A channel is a function of symbols; its name and parameters are written ``awgn:10``. A new one is a class with a
``parse`` and one line in `CHANNELS`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import torch
from torch import Tensor

from atm.errors import AtmError, unknown


class Channel(Protocol):
    """What is between the two antennas."""

    name: ClassVar[str]

    @property
    def snr_db(self) -> float:
        """Signal-to-noise ratio in dB that a receiver measures; infinite without noise."""
        ...

    @classmethod
    def parse(cls, argument: str) -> Self:
        """The channel from what stands behind the colon of its name."""
        ...

    def __call__(self, symbols: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Symbols ``[T, k]`` complex as sent, average power 1 -> the same as received."""
        ...


@dataclass(frozen=True)
class Noiseless:
    """``y = x``."""

    name: ClassVar[str] = "noiseless"

    @property
    def snr_db(self) -> float:
        """Infinite."""
        return math.inf

    @classmethod
    def parse(cls, argument: str) -> Self:
        """Takes no parameters."""
        if argument:
            raise AtmError(f"channel 'noiseless' takes no parameters, got {argument!r}")
        return cls()

    def __call__(self, symbols: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The symbols themselves."""
        return symbols

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Awgn:
    """``y = x + n`` with ``n`` circularly symmetric complex Gaussian of variance ``10^(-snr_db / 10)``."""

    name: ClassVar[str] = "awgn"
    snr_db: float

    @classmethod
    def parse(cls, argument: str) -> Self:
        """``awgn:SNR`` with the SNR in dB."""
        return cls(decibels(argument, "awgn"))

    def __call__(self, symbols: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Adds the noise."""
        noise = torch.randn(symbols.shape, dtype=symbols.dtype, device=symbols.device, generator=generator)
        return symbols + noise * 10 ** (-self.snr_db / 20)  # complex randn has variance 1

    def __str__(self) -> str:
        return f"awgn:{self.snr_db:g}"


CHANNELS: dict[str, type[Channel]] = {"noiseless": Noiseless, "awgn": Awgn}


def parse(text: str) -> Channel:
    """The channel that a text such as ``awgn:10`` or ``noiseless`` names.

    Raises:
        AtmError: an unknown name, or parameters that the channel cannot have.
    """
    name, _, argument = text.partition(":")
    if name not in CHANNELS:
        raise unknown("channel", name, CHANNELS)
    return CHANNELS[name].parse(argument)


def decibels(text: str, channel: str) -> float:
    """A finite SNR in dB from a channel's parameter."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise AtmError(f"channel {channel!r}: {text!r} is no SNR in dB; write for example {channel}:10")
    return value
