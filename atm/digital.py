"""The classic alternative to joint source-channel coding: quantise, then a 5G LDPC code, then QAM; code from Sionna."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor, nn

from atm.channels.base import decibels
from atm.codec import Codec
from atm.data.kinds import source
from atm.encoder import Encoder
from atm.errors import AtmError
from atm.policy import MergePolicy
from atm.sionna_phy import require_sionna, sionna
from atm.tokens import TokenBatch


class Mode(NamedTuple):
    """A modulation and code rate, and the lowest SNR at which its blocks arrive.

    Attributes:
        snr_db: from which on fewer than 1 in 20 blocks of `BLOCK_SYMBOLS` fail on AWGN (as measured, with up to 0.5 dB
            to spare for shorter blocks).
        bits: of a QAM symbol.
        rate: of the code.
    """

    snr_db: float
    bits: int
    rate: float


MODES = (
    Mode(-math.inf, 2, 1 / 3),
    Mode(2.5, 2, 1 / 2),
    Mode(4.5, 2, 2 / 3),
    Mode(7.5, 4, 1 / 2),
    Mode(10.0, 4, 2 / 3),
    Mode(15.0, 6, 2 / 3),
    Mode(18.0, 6, 5 / 6),
    Mode(22.0, 8, 3 / 4),
)
BLOCK_SYMBOLS = 1024  # of a code block at most; longer codes gain little and decode slowly
LONGEST_BLOCK = 8448  # information bits (TS 38.212, section 5.2.2)
SHORTEST_BLOCK = 12  # information bits that Sionna's code takes
MOST_BITS = 8  # of one quantised value
FITTED_TO = 256  # pictures
ITERATIONS = 15
AT_A_TIME = 64  # blocks that are decoded together


class DigitalCodec(nn.Module, Codec):
    """Quantised tokens under an LDPC code and QAM, for one SNR.

    Tokens are turned onto their principal axes, each axis gets bits where they reduce the error most, and is quantised
    as a Gaussian. The tokens of an image are cut into code blocks of equally many tokens. Above the SNR that it was
    designed for the quantisation is all that is lost; below it, blocks fail. Nothing detects a failed block: its tokens
    are what the wrong bits say. No gradient passes through the bits.

    Args:
        width: values per token.
        symbols_per_token: complex symbols that carry one token.
        snr_db: to be designed for; it sets modulation and rate.

    Raises:
        AtmError: so few or so many symbols per token that no code fits.
    """

    name = "digital"
    soft = True  # its decoder weighs each symbol by its own SNR

    def __init__(self, width: int, symbols_per_token: int = 32, snr_db: float = 10.0) -> None:
        super().__init__()
        require_sionna("codec 'digital'")
        self.symbols_per_token = symbols_per_token
        self.mode = max(mode for mode in MODES if mode.snr_db <= snr_db)
        self.payload = int(symbols_per_token * self.mode.bits * self.mode.rate)  # bits of a token
        if not SHORTEST_BLOCK <= self.payload <= LONGEST_BLOCK:
            raise AtmError(
                f"codec 'digital': {symbols_per_token} symbols carry {self.payload} bits of a token, expected "
                f"{SHORTEST_BLOCK} to {LONGEST_BLOCK}; choose other symbols=N"
            )
        self.mean: Tensor
        self.axes: Tensor
        self.deviation: Tensor
        self.bits: Tensor
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("axes", torch.eye(width))
        self.register_buffer("deviation", torch.ones(width))
        self.register_buffer("bits", allocate(torch.ones(width), self.payload))

    @torch.no_grad()
    def fit_to(self, values: Tensor) -> None:
        """Take mean, principal axes and bit allocation from example tokens ``[T, d]``."""
        self.mean.copy_(values.mean(0))
        variances, axes = torch.linalg.eigh(torch.cov(values.cpu().double().T))  # not every device has float64
        self.axes.copy_(axes)
        self.deviation.copy_(variances.clamp_min(1e-12).sqrt())
        self.bits.copy_(allocate(variances.clamp_min(1e-12), self.payload))

    @torch.no_grad()
    def encode(self, tokens: TokenBatch, snr_db: float | Tensor) -> tuple[Tensor, Tensor]:
        """QAM symbols ``[T, k]`` of mean power 1; nothing is sent beside them."""
        bits = self._quantise((tokens.values.float() - self.mean) @ self.axes / self.deviation)
        symbols = torch.zeros(len(bits), self.symbols_per_token, dtype=torch.complex64, device=bits.device)
        for count, rows in blocks(tokens, self._tokens_of_a_block()).items():
            coded = self._code(count, bits.device).encoder(bits[rows].flatten(1))
            symbols[rows] = _qam(self.mode.bits, str(bits.device)).mapper(coded).view(*rows.shape, -1)
        return symbols, symbols.real.new_empty(len(tokens), 0)

    @torch.no_grad()
    def decode(self, symbols: Tensor, side: Tensor, like: TokenBatch, snr_db: float | Tensor) -> Tensor:
        """Tokens ``[T, d]`` from soft bits; ``snr_db`` is one number, one for each image, or ``[T, k]``."""
        snr = torch.as_tensor(snr_db, dtype=torch.float32, device=symbols.device)
        snr = snr[like.image_of_token, None] if snr.ndim == 1 else snr
        noise = 10 ** (-snr.clamp(-60.0, 60.0) / 10).expand(symbols.shape)
        bits = torch.empty(len(symbols), self.payload, device=symbols.device)
        for count, rows in blocks(like, self._tokens_of_a_block()).items():
            code, qam = self._code(count, symbols.device), _qam(self.mode.bits, str(symbols.device))
            for part in rows.split(AT_A_TIME):
                soft = qam.demapper(symbols[part].flatten(1), noise[part].flatten(1))
                bits[part] = code.decoder(soft).view(*part.shape, -1)
        return self._dequantise(bits) * self.deviation @ self.axes.T + self.mean

    def _quantise(self, standard: Tensor) -> Tensor:
        """``[T, payload]`` zeros and ones: for each axis the number of the equally likely interval of a Gaussian."""
        columns = []
        uniform = torch.special.ndtr(standard)
        for axis, count in self._quantised_axes():
            level = (uniform[:, axis] * 2**count).long().clamp(0, 2**count - 1)
            columns.append((level[:, None] >> torch.arange(count, device=level.device)) & 1)
        bits = torch.cat(columns, 1).float()
        return nn.functional.pad(bits, (0, self.payload - bits.shape[1]))

    def _dequantise(self, bits: Tensor) -> Tensor:
        """``[T, d]``: the mean of a Gaussian within each interval; 0 on axes without bits."""
        out = torch.zeros(len(bits), len(self.bits), device=bits.device)
        start = 0
        for axis, count in self._quantised_axes():
            powers = 2 ** torch.arange(count, device=bits.device)
            level = (bits[:, start : start + count].long() * powers).sum(1)
            out[:, axis] = centroids(count).to(bits.device)[level]
            start += count
        return out

    def _quantised_axes(self) -> list[tuple[int, int]]:
        return [(axis, count) for axis, count in enumerate(self.bits.tolist()) if count]

    def _tokens_of_a_block(self) -> int:
        return max(1, min(BLOCK_SYMBOLS // self.symbols_per_token, LONGEST_BLOCK // self.payload))

    def _code(self, count: int, device: torch.device) -> _Code:
        coded = count * self.symbols_per_token * self.mode.bits
        return _ldpc(count * self.payload, coded, self.mode.bits, str(device))


def allocate(variances: Tensor, budget: int) -> Tensor:
    """``[d]`` int64 bits for each axis: one by one to the axis with the largest error, which each bit divides by four.

    The greedy form of reverse water-filling (Cover and Thomas, Elements of Information Theory, section 10.3.3). No axis
    gets more than `MOST_BITS`, so a large budget may not be used up.
    """
    error = variances.double().cpu().numpy().copy()
    bits = np.zeros(len(error), dtype=np.int64)
    for _ in range(min(budget, MOST_BITS * len(error))):
        axis = int(np.argmax(np.where(bits < MOST_BITS, error, -1.0)))
        bits[axis] += 1
        error[axis] /= 4
    return torch.from_numpy(bits)


@lru_cache
def centroids(bits: int) -> Tensor:
    """``[2^bits]``: the mean of a standard Gaussian within each of equally likely intervals."""
    edges = norm.ppf(np.linspace(0, 1, 2**bits + 1))
    density = norm.pdf(edges)
    return torch.tensor((density[:-1] - density[1:]) * 2**bits, dtype=torch.float32)


def blocks(tokens: TokenBatch, longest: int) -> dict[int, Tensor]:
    """Each image's tokens in as few blocks as can be, of nearly equal size: the rows ``[blocks, n]`` by size n."""
    found: dict[int, list[Tensor]] = {}
    for start, count in zip(tokens.offsets.tolist(), tokens.counts, strict=True):
        for rows in torch.arange(start, start + count).tensor_split(math.ceil(count / longest)):
            found.setdefault(len(rows), []).append(rows)
    return {size: torch.stack(rows) for size, rows in sorted(found.items())}


def fitted(argument: str, encoder: Encoder, exit_layer: int | None = None) -> DigitalCodec:
    """The codec for a victim, fitted to its tokens of what needs no download, such as the embedded photographs.

    Args:
        argument: see `parse`.
        encoder: the victim.
        exit_layer: the layer after which the tokens leave the device; None is the last.

    Raises:
        AtmError: an argument that is none, or a victim of sounds, of which none are embedded.
    """
    codec = parse(argument, encoder.width).to(encoder.device)
    images = source(encoder.signal).sample(encoder.signal, FITTED_TO)
    policy = MergePolicy.uniform(1.0, encoder.depth, exit_layer=exit_layer)
    with torch.no_grad():
        codec.fit_to(torch.cat([encoder(part.to(encoder.device), policy).tokens.values for part in images.split(64)]))
    return codec.eval()


def parse(argument: str, width: int) -> DigitalCodec:
    """``SNR,symbols=32``, what stands behind ``digital:``: the codec for one SNR in dB, not yet fitted to any tokens.

    Raises:
        AtmError: no SNR, or an option that is not there.
    """
    snr, _, option = (argument or "10").partition(",")
    key, _, number = option.partition("=")
    if option and (key != "symbols" or not number.isdecimal()):
        raise AtmError(f"codec 'digital': {option!r} is no option; write for example digital:10,symbols=32")
    return DigitalCodec(width, int(number) if option else 32, decibels(snr, "digital"))


class _Code(NamedTuple):
    encoder: Any
    decoder: Any


class _Qam(NamedTuple):
    mapper: Any
    demapper: Any


@lru_cache(maxsize=256)
def _ldpc(k: int, n: int, bits: int, device: str) -> _Code:
    ldpc = sionna("fec.ldpc")
    encoder = ldpc.LDPC5GEncoder(k, n, num_bits_per_symbol=bits, device=device)
    return _Code(encoder, ldpc.LDPC5GDecoder(encoder, num_iter=ITERATIONS, cn_update="offset-minsum", device=device))


@lru_cache
def _qam(bits: int, device: str) -> _Qam:
    mapping = sionna("mapping")
    constellation = mapping.Constellation("qam", bits, device=device)
    return _Qam(
        mapping.Mapper(constellation=constellation, device=device),
        mapping.Demapper("maxlog", constellation=constellation, device=device),
    )
