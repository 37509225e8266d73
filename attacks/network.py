"""The learned decoder's network: from tokens on a grid, or in no order at all, to pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate

from atm.signals import ArraySignal

SMALL = 8  # pixels of a side: the patches of the networks of 32 and 64 pixels


class Block(nn.Module):
    """A transformer block, with attention to the received tokens too where it has them.

    Attention is written out, because fused kernels are slower for short sequences in bf16 on a CPU.
    """

    def __init__(self, width: int, cross: bool = False, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm_self, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.cross = nn.ModuleList(
            [nn.LayerNorm(width), nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)]
            if cross
            else []
        )

    def forward(self, x: Tensor, tokens: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """``[B, n, w]``, tokens ``[B, t, w]`` with the mask ``[B, t]`` of those that are there."""
        q, k, v = self.qkv(self.norm_self(x)).chunk(3, -1)
        x = x + self.out(self._attend(q, k, v, None if self.cross else mask))
        if self.cross:
            norm, query, key_value, out = self.cross
            k, v = key_value(tokens).chunk(2, -1)
            x = x + out(self._attend(query(norm(x)), k, v, mask))
        return x + self.mlp(self.norm_mlp(x))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        split = [t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v)]
        scores = (split[0] * split[0].shape[-1] ** -0.5) @ split[1].transpose(-1, -2)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None], -1e4)
        return (scores.softmax(-1) @ split[2]).transpose(1, 2).flatten(-2)


class Residual(nn.Module):
    """Two convolutions whose sum with the input starts as the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        _zero(self.second)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, w, h, w]`` -> the same shape."""
        return x + self.second(gelu(self.first(gelu(x))))


@dataclass(frozen=True)
class Size:
    """How wide and deep the network is.

    Attributes:
        width: of the transformer.
        layers: of the transformer.
        coarse: channels of the convolutions at the coarse level.
        fine: and at the fine level.
    """

    width: int
    layers: int
    coarse: int
    fine: int

    @classmethod
    def suited(cls, signal: ArraySignal) -> Size:
        """What gains the most in minutes of two cores for patches of this size."""
        return cls(256, 2, 64, 16) if max(signal.patch) > SMALL else cls(128, 1, 32, 16)


class InversionNetwork(nn.Module):
    """Corrects a first estimate; equal to it until it is trained.

    A transformer over the patches, then convolutions over the estimate at two coarse cells a patch side and at finer
    ones, where most of the gain was measured. Narrow, because what counts is the gain in a given
    time: on unmerged tokens of ``vit_cifar10`` half the channels and one layer less gave an SSIM of 0.75 in 45 s where
    0.68 was reached before. Larger patches have more to say, and get a wider one.

    Args:
        features: width of what is known of each patch; 0 where nothing is.
        tokens: width of the received tokens in no order; 0 where the patches' features say it all.
        signal: the pictures.
        size: of the layers.
    """

    def __init__(self, features: int, tokens: int, signal: ArraySignal, size: Size) -> None:
        super().__init__()
        self.grid, width = signal.grid, size.width
        coarse, fine, colours = size.coarse, size.fine, signal.shape[0]
        (tall, wide), up = signal.patch, 2 if all(side % 2 == 0 for side in signal.patch) else 1
        self.coarse_cell = tall // up, wide // up  # pixels
        self.fine_cell = _fine_cell(signal, self.coarse_cell)
        self.up = up, up
        self.finer = (
            max(self.coarse_cell[0] // self.fine_cell[0], 1),
            max(self.coarse_cell[1] // self.fine_cell[1], 1),
        )
        self.fine_grid = signal.shape[1] // self.fine_cell[0], signal.shape[2] // self.fine_cell[1]
        pixels_coarse, pixels_fine = (colours * h * w for h, w in (self.coarse_cell, self.fine_cell))
        self.embed = nn.Linear(features, width) if features else None
        self.token = nn.Linear(tokens, width) if tokens else None
        self.position = nn.Parameter(torch.randn(signal.places, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, cross=tokens > 0) for _ in range(size.layers))
        self.to_cells = nn.Linear(width, coarse * up**2)
        self.norm = nn.LayerNorm(width)
        self.coarse_in = nn.Conv2d(pixels_coarse, coarse, 3, padding=1)
        self.coarse = nn.Sequential(Residual(coarse), Residual(coarse))
        self.coarse_out = nn.Conv2d(coarse, pixels_coarse, 3, padding=1)
        self.widen = nn.Conv2d(coarse, fine * self.finer[0] * self.finer[1], 1)
        self.fine_in = nn.Conv2d(pixels_fine, fine, 3, padding=1)
        self.fine = Residual(fine)
        self.fine_out = nn.Conv2d(fine, pixels_fine, 3, padding=1)
        _zero(self.coarse_out)
        _zero(self.fine_out)
        self.to(memory_format=torch.channels_last)

    def forward(
        self, estimate: Tensor, features: Tensor | None, tokens: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Estimate ``[B, C, H, W]``, features ``[B, P, f]``, tokens ``[B, t, d]`` and mask -> ``[B, C, H, W]``."""
        x = self.position.expand(len(estimate), -1, -1)
        if self.embed is not None:
            x = x + self.embed(features)
        if self.token is not None:
            tokens = self.token(tokens)
        for block in self.blocks:
            x = block(x, tokens, mask)
        cells = self.to_cells(self.norm(x)).transpose(1, 2).unflatten(-1, self.grid)
        h = self.coarse(joined(cells, self.up) + self.coarse_in(cells_of(estimate, self.coarse_cell)))
        estimate = estimate + joined(self.coarse_out(h), self.coarse_cell)
        wider = joined(self.widen(h), self.finer)
        if wider.shape[2:] != self.fine_grid:  # cells of 7 pixels are no whole number of cells of 2
            wider = interpolate(wider, self.fine_grid, mode="bilinear")
        h = self.fine(wider + self.fine_in(cells_of(estimate, self.fine_cell)))
        return estimate + joined(self.fine_out(h), self.fine_cell)


def _fine_cell(signal: ArraySignal, coarse: tuple[int, int]) -> tuple[int, int]:
    """Height and width in pixels: a quarter of a small patch, two pixels of a large one."""
    if max(signal.patch) > SMALL and all(side % 2 == 0 for side in signal.shape[1:]):
        return 2, 2
    return (coarse[0] // 2, coarse[1] // 2) if all(side % 4 == 0 for side in signal.patch) else coarse


def cells_of(images: Tensor, cell: tuple[int, int]) -> Tensor:
    """``[B, C, H, W]`` -> ``[B, C * h * w, H / h, W / w]``: ``pixel_unshuffle`` for rectangles."""
    split = images.unflatten(3, (-1, cell[1])).unflatten(2, (-1, cell[0]))
    return split.permute(0, 1, 3, 5, 2, 4).flatten(1, 3)


def joined(cells: Tensor, cell: tuple[int, int]) -> Tensor:
    """The inverse of `cells_of`."""
    return cells.unflatten(1, (-1, *cell)).permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)


def _zero(layer: nn.Conv2d) -> None:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
