"""Convolutional patch embeddings: what makes tokens of an image, or of a spectrogram, before the first layer."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from timm.layers import PatchEmbed
from torch import nn


class ConvStem(PatchEmbed):
    """timm's patch embedding with 3x3 convolutions in place of its single one (arXiv 2106.14881).

    Each halving of the resolution is one stride-2 convolution; a patch's token sees a little beyond its borders. Passed
    to timm's ``VisionTransformer`` as ``embed_layer``.

    Raises:
        ValueError: a patch size that is not a power of two.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int],
        patch_size: int,
        in_chans: int = 3,
        embed_dim: int = 192,
        **options: Any,
    ) -> None:
        super().__init__(img_size=img_size, patch_size=patch_size, in_chans=in_chans, embed_dim=embed_dim, **options)
        halvings = patch_size.bit_length() - 1
        if 2**halvings != patch_size:
            raise ValueError(f"a convolutional stem needs a patch size that is a power of two, got {patch_size}")
        widths = [embed_dim // 2 ** (halvings - i) for i in range(halvings + 1)]
        layers: list[nn.Module] = [nn.Conv2d(in_chans, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0])]
        for before, after in pairwise(widths):
            layers += [nn.GELU(), nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after)]
        layers += [nn.GELU(), nn.Conv2d(embed_dim, embed_dim, 1)]
        self.proj = nn.Sequential(*layers)  # type: ignore[assignment]


class FrameStem(PatchEmbed):
    """Whisper's two convolutions over time, as timm's patch embedding (Radford et al. 2022, section 2.2).

    A spectrogram ``[1, bins, frames]`` becomes one row of tokens, each of two frames with all their mel bands; since
    the kernels are three frames long, a token sees two frames before its own and one behind them.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int],
        patch_size: Any,  # timm declares a number, and takes a height and a width too
        in_chans: int = 1,
        embed_dim: int = 384,
        **options: Any,
    ) -> None:
        super().__init__(img_size=img_size, patch_size=patch_size, in_chans=in_chans, embed_dim=embed_dim, **options)
        bins = self.img_size[0]
        self.proj = nn.Sequential(  # type: ignore[assignment]
            nn.Conv2d(in_chans, embed_dim, (bins, 3), padding=(0, 1)),
            nn.GELU(),
            nn.Conv2d(embed_dim, embed_dim, (1, 3), stride=(1, 2), padding=(0, 1)),
            nn.GELU(),
        )
