"""Joint source-channel coding: tokens become complex channel symbols and, after the channel, tokens again.

Every codec takes any number of tokens. Symbols have average power 1 over each image. The learned one is `atm.jscc`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

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


class PerTokenCodec(nn.Module, Codec):
    """The learned codec of earlier versions: a small network per token on either side, both told the SNR.

    Deep joint source-channel coding (arXiv 1809.01733) with the SNR modulating the features (as in arXiv 2308.09361).

    Args:
        width: values per token.
        symbols_per_token: complex symbols that carry one token.
        hidden: width of the networks.
    """

    name = "jscc"

    def __init__(self, width: int, symbols_per_token: int, hidden: int) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"width": width, "symbols_per_token": symbols_per_token, "hidden": hidden}
        self.symbols_per_token = symbols_per_token
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        self.encoder = _Modulated(width, hidden, 2 * symbols_per_token)
        self.decoder = _Modulated(2 * symbols_per_token, hidden, width)

    def standardise_to(self, values: Tensor) -> None:
        """Take mean and deviation of the source from example tokens ``[T, d]``; done once, before training."""
        self.mean.copy_(values.mean(0))
        self.deviation.copy_(values.std(0).clamp_min(1e-6))

    def encode(self, tokens: TokenBatch, snr_db: float | Tensor) -> tuple[Tensor, Tensor]:
        """Symbols of average power 1; nothing needs to be sent beside them."""
        standard = (tokens.values - self.mean) / self.deviation
        out = self.encoder(standard, _per_token(snr_db, tokens))
        symbols, _ = unit_power(torch.view_as_complex(out.float().unflatten(-1, (-1, 2)).contiguous()), tokens)
        return symbols, symbols.real.new_empty(len(tokens), 0)

    def decode(self, symbols: Tensor, side: Tensor, like: TokenBatch, snr_db: float | Tensor) -> Tensor:
        """The receiver's estimate of the tokens."""
        out = self.decoder(torch.view_as_real(symbols).flatten(-2), _per_token(snr_db, like))
        return out * self.deviation + self.mean


class _Modulated(nn.Module):
    """Two residual-free hidden layers whose features the SNR scales and shifts."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, outputs)
        self.skip = nn.Linear(inputs, outputs)
        self.modulation = nn.Sequential(nn.Linear(1, 32), nn.GELU(), nn.Linear(32, 4 * hidden))

    def forward(self, x: Tensor, snr: Tensor) -> Tensor:
        scale1, shift1, scale2, shift2 = self.modulation(snr).chunk(4, dim=-1)
        h = nn.functional.gelu(self.first(x)) * (1 + scale1) + shift1
        h = h + nn.functional.gelu(self.second(h)) * (1 + scale2) + shift2
        return self.last(h) + self.skip(x)


# Beyond this a receiver gains nothing more; it also keeps a noiseless channel's infinite SNR finite.
HIGHEST_SNR_DB = 30.0


def _per_token(snr_db: float | Tensor, tokens: TokenBatch) -> Tensor:
    """``[T, 1]`` SNR of each token in units of 10 dB, from one number or one per image."""
    snr = torch.as_tensor(snr_db, dtype=torch.float32, device=tokens.values.device).clamp(-20.0, HIGHEST_SNR_DB) / 10
    return snr.expand(len(tokens))[tokens.image_of_token][:, None] if snr.ndim else snr.expand(len(tokens.values), 1)
