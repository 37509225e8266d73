"""A learned joint source-channel code for tokens: one transformer block at either end, told the SNR and the rate.

Deep joint source-channel coding (arXiv 1809.01733) for whatever tokens survived the merging. There is no grid left, so
the windows of SwinJSCC (arXiv 2308.09361) do not apply; its idea does, that SNR and rate modulate the features, so that
one model serves all SNRs and several rates.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from atm.attention import ragged_attention
from atm.codec import Codec, unit_power
from atm.errors import AtmError
from atm.tokens import TokenBatch

SNR_RANGE_DB = (0.0, 20.0)  # of the training; beyond it a codec works as at the nearer end
HEAD = 32  # values per attention head


class JsccCodec(nn.Module, Codec):
    """Tokens of any number and any image sizes to complex symbols and back.

    A token's symbols are ordered: a lower rate sends the first of them, and the receiver sees zeros in place of the
    rest. The sender knows how many patches each token stands for. This receiver uses nothing but how many tokens each
    image has, and which of them are protected (they stand first) or padding, whatever is on the wire. Padding is
    sent like the tokens that it copies, as if each stood for one patch; no other token attends to it on either side.

    Args:
        width: values per token.
        rates: complex symbols per token that it is trained for; the first is what it sends unless `at_rate` is used.
        hidden: values per token inside, a multiple of 32.
        depth: transformer blocks on either side.

    Attributes:
        config: the arguments.
        symbols_per_token: the rate in use.
    """

    name = "jscc"

    def __init__(self, width: int, rates: Sequence[int], hidden: int, depth: int = 1) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"width": width, "rates": list(rates), "hidden": hidden, "depth": depth}
        self.rates = tuple(rates)
        self.symbols_per_token = self.rates[0]
        self.most_symbols = max(self.rates)
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.zeros(2, width))  # of patch tokens, and of protected ones
        self.register_buffer("deviation", torch.ones(2, width))
        self.size_embedding = nn.Parameter(torch.zeros(width))
        self.encoder = _Transformer(width, hidden, 2 * self.most_symbols, depth)
        self.decoder = _Transformer(2 * self.most_symbols, hidden, width, depth)

    def at_rate(self, symbols_per_token: int) -> JsccCodec:
        """The same codec, sharing its weights, at another of its rates.

        Raises:
            AtmError: it was not trained for that rate.
        """
        if symbols_per_token not in self.rates:
            known = ", ".join(map(str, sorted(self.rates)))
            raise AtmError(f"this codec carries {known} symbols per token, not {symbols_per_token}; choose one of them")
        other = copy.copy(self)
        other.symbols_per_token = symbols_per_token
        return other

    @torch.no_grad()
    def start_from(self, tokens: TokenBatch) -> None:
        """Standardise to example tokens, and start as the linear code on their principal components.

        Component i of variance v travels with gain v^(-1/4), which is the best linear code at high SNR (Lee and
        Petersen 1976); the blocks add nothing yet. Protected tokens have statistics and components of their own.
        """
        kinds = _kinds(tokens)
        symbols = 2 * self.most_symbols
        amplitude = 1.0
        for kind in (0, 1):
            values = tokens.values[kinds == kind].float()
            if len(values) < 2:
                continue
            self.mean[kind] = values.mean(0)
            self.deviation[kind] = values.std(0).clamp_min(1e-6)
            variances, axes = torch.linalg.eigh(((values - self.mean[kind]) / self.deviation[kind]).T.cov())
            kept = min(self.encoder.hidden, len(axes))
            axes, gains = axes.flip(-1)[:, :kept], variances.flip(-1)[:kept].clamp_min(1e-4) ** -0.25
            if kind == 0:
                power = (variances.flip(-1)[: 2 * self.symbols_per_token].clamp_min(0) ** 0.5).sum()
                amplitude = float((power / self.symbols_per_token).sqrt())
            for part, first in ((self.encoder, (axes * gains).T), (self.decoder, torch.eye(symbols))):
                target = part.first.of(kind).weight
                rows, columns = min(len(first), len(target)), min(first.shape[1], target.shape[1])
                target.zero_()[:rows, :columns] = first[:rows, :columns]
            last = self.encoder.last.of(kind).weight
            last.copy_(torch.eye(*last.shape))
            self.decoder.last.of(kind).weight.zero_()[:, :kept] = axes / gains * amplitude
            for part in (self.encoder, self.decoder):
                part.first.of(kind).bias.zero_()
                part.last.of(kind).bias.zero_()

    def encode(self, tokens: TokenBatch, snr_db: float | Tensor) -> tuple[Tensor, Tensor]:
        """Symbols ``[T, symbols_per_token]`` of average power 1 per image; nothing needs to be sent beside them."""
        kinds = _kinds(tokens)
        x = (tokens.values - self.mean[kinds]) / self.deviation[kinds]
        if tokens.sizes is not None:
            x = x + tokens.sizes.to(x).clamp_min(1).log()[:, None] * self.size_embedding
        out = self.encoder(x, self._condition(snr_db, self.symbols_per_token, tokens), tokens)
        pairs = out.float().unflatten(-1, (-1, 2))[:, : self.symbols_per_token]
        symbols, _ = unit_power(torch.view_as_complex(pairs.contiguous()), tokens)
        return symbols, symbols.real.new_empty(len(tokens), 0)

    def decode(self, symbols: Tensor, side: Tensor, like: TokenBatch, snr_db: float | Tensor) -> Tensor:
        """The receiver's estimate of the tokens ``[T, d]``; of ``like`` it reads lengths, prefix and padding."""
        rate = symbols.shape[-1]
        received = nn.functional.pad(torch.view_as_real(symbols).flatten(-2), (0, 2 * (self.most_symbols - rate)))
        kinds = _kinds(like)
        out = self.decoder(received, self._condition(snr_db, rate, like), like).float()
        return out * self.deviation[kinds] + self.mean[kinds]

    def flops(self, lengths: Tensor) -> Tensor:
        """``[B]`` float64: of projections, MLPs and attention of the encoding side."""
        blocks, n = len(self.encoder.blocks), lengths.double()
        one = sum(p.weight.numel() for p in (self.encoder.first.patch, self.encoder.last.patch))
        one += sum(m.weight.numel() for m in self.encoder.blocks.modules() if isinstance(m, nn.Linear))
        return 2 * n * one + 4 * n.square() * self.encoder.hidden * blocks

    def scale_of(self, tokens: TokenBatch) -> Tensor:
        """``[T, d]``: the deviation of each value over the tokens that this codec was trained on."""
        return self.deviation[_kinds(tokens)]

    def _condition(self, snr_db: float | Tensor, rate: int, tokens: TokenBatch) -> Tensor:
        """``[1, 3]``, or ``[B, 3]`` for one SNR per image: SNR, noise power and rate, each of the order of 1."""
        snr = torch.as_tensor(snr_db, dtype=torch.float32, device=self.mean.device).clamp(*SNR_RANGE_DB).reshape(-1)
        part = torch.full_like(snr, rate / self.most_symbols)
        return torch.stack((snr / 10 - 1, 10 ** (-snr / 10), part), -1)


class _Transformer(nn.Module):
    """Projection, blocks, projection; SNR and rate scale and shift the features before each part."""

    def __init__(self, inputs: int, hidden: int, outputs: int, depth: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.first = _Projection(inputs, hidden)
        self.blocks = nn.ModuleList(_Block(hidden) for _ in range(depth))
        self.last = _Projection(hidden, outputs)
        self.modulation = nn.Sequential(nn.Linear(3, 64), nn.GELU(), nn.Linear(64, (4 * depth + 2) * hidden))
        _silence(self.modulation[-1])

    def forward(self, x: Tensor, condition: Tensor, tokens: TokenBatch) -> Tensor:
        modulation = self.modulation(condition)
        if len(condition) > 1:
            modulation = modulation[tokens.image_of_token]
        parts = modulation.chunk(2 * len(self.blocks) + 1, -1)
        x = self.first(x, tokens)
        for number, block in enumerate(self.blocks):
            x = block(x, parts[2 * number], parts[2 * number + 1], tokens)
        return self.last(_modulated(x, parts[-1]), tokens)


class _Block(nn.Module):
    """Pre-norm attention among the tokens of an image, then an MLP; at first it adds nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.heads = max(1, width // HEAD)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        _silence(self.proj)
        _silence(self.mlp[-1])

    def forward(self, x: Tensor, attention: Tensor, mlp: Tensor, tokens: TokenBatch) -> Tensor:
        q, k, v = self.qkv(_modulated(self.norm(x), attention)).unflatten(-1, (3, self.heads, -1)).unbind(1)
        heard = None if tokens.padding is None else q.new_zeros(len(q)).masked_fill(tokens.padding, -torch.inf)
        x = x + self.proj(ragged_attention(q, k, v, tokens, heard).flatten(1))
        return x + self.mlp(_modulated(self.norm(x), mlp))


class _Projection(nn.Module):
    """A linear map, with weights of its own for protected tokens: a class token is distributed like no patch."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.patch = nn.Linear(inputs, outputs)
        self.protected = nn.Linear(inputs, outputs)

    def of(self, kind: int) -> nn.Linear:
        return self.protected if kind else self.patch

    def forward(self, x: Tensor, tokens: TokenBatch) -> Tensor:
        out = self.patch(x)
        if not tokens.prefix:
            return out
        rows = _protected_rows(tokens)
        return out.index_copy(0, rows, self.protected(x[rows]))


def _protected_rows(tokens: TokenBatch) -> Tensor:
    """``[B * prefix]`` int64: where the protected tokens stand."""
    return (tokens.offsets[:, None] + torch.arange(tokens.prefix)).flatten().to(tokens.values.device)


def _kinds(tokens: TokenBatch) -> Tensor:
    """``[T]`` int64: 1 for protected tokens, 0 for the others."""
    kinds = torch.zeros(tokens.values.shape[0], dtype=torch.long, device=tokens.values.device)
    return kinds.index_fill(0, _protected_rows(tokens), 1)


def _modulated(x: Tensor, scale_and_shift: Tensor) -> Tensor:
    scale, shift = scale_and_shift.chunk(2, -1)
    return x * (1 + scale) + shift


def _silence(linear: nn.Module) -> None:
    for parameter in linear.parameters():
        nn.init.zeros_(parameter)
