"""Joint source-channel coding: tokens become complex channel symbols and, after the channel, tokens again.

Every codec takes any number of tokens. Symbols have average power 1 over each image. The learned one is `atm.jscc`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from atm.tokens import TokenBatch


class Codec(ABC):
    """A token codec.

    Attributes:
        name: in reports.
        symbols_per_token: complex symbols that carry one token.
        soft: whether its decoder weighs each symbol by an SNR of its own.
        sends_side: whether it sends numbers beside its symbols.
        learned: whether it was made for the tokens of one layer of one victim.
    """

    name: ClassVar[str]
    symbols_per_token: int
    soft: ClassVar[bool] = False
    sends_side: ClassVar[bool] = False
    learned: ClassVar[bool] = True

    @abstractmethod
    def encode(self, tokens: TokenBatch, snr_db: float | Tensor) -> tuple[Tensor, Tensor]:
        """Tokens -> symbols ``[T, k]`` complex of average power 1 per image, and side information ``[B, s]``."""

    @abstractmethod
    def decode(self, symbols: Tensor, side: Tensor, like: TokenBatch, snr_db: float | Tensor) -> Tensor:
        """Received symbols -> token values ``[T, d]``; ``like`` says which symbols belong to which image."""

    def flops(self, lengths: Tensor) -> Tensor:
        """``[B]`` float64: the sender's floating-point operations for images of so many tokens ``[B]``."""
        return torch.zeros(len(lengths), dtype=torch.float64)


def unit_power(symbols: Tensor, tokens: TokenBatch) -> tuple[Tensor, Tensor]:
    """Scale each image's symbols to average power 1; the amplitudes ``[B, 1]`` that were divided out come with them."""
    image = tokens.image_of_token
    energy = symbols.abs().square().mean(-1)
    power = torch.zeros(len(tokens), device=energy.device).index_add(0, image, energy)
    amplitude = (power / tokens.lengths.to(energy.device)).clamp_min(1e-12).sqrt()
    return symbols / amplitude[image, None], amplitude[:, None]


class UncodedAnalog(Codec):
    """No code: two token values are the real and the imaginary part of one symbol.

    The amplitude of each image is side information that arrives without error, as frame headers do. Over a noiseless
    channel the tokens arrive to float precision. Any victim can use it, for want of a trained codec.
    """

    name = "uncoded"
    sends_side = True
    learned = False

    def __init__(self, width: int) -> None:
        self.width = width
        self.symbols_per_token = math.ceil(width / 2)

    def encode(self, tokens: TokenBatch, snr_db: float | Tensor) -> tuple[Tensor, Tensor]:
        """Pairs of values, scaled to average power 1."""
        values = nn.functional.pad(tokens.values.float(), (0, self.width % 2))
        return unit_power(torch.view_as_complex(values.unflatten(-1, (-1, 2)).contiguous()), tokens)

    def decode(self, symbols: Tensor, side: Tensor, like: TokenBatch, snr_db: float | Tensor) -> Tensor:
        """The pairs again, at the sender's amplitude."""
        scaled = symbols * side[like.image_of_token]
        return torch.view_as_real(scaled).flatten(-2)[:, : self.width]
