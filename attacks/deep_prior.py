"""White-box inversion over the weights of an untrained convolutional network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from attacks.descent import AdamDescent, Coordinates
from attacks.spread import Spread


@dataclass
class DeepPrior(AdamDescent):
    """What is searched is not the correction of the decoder's output but a network for each image that draws it.

    A convolutional network that was never trained draws smooth and self-similar pictures before it draws noise (Ulyanov
    et al. 2018). Here it draws the correction in the coordinates of `attacks.optimization`, in which the decoder's
    errors are white: one that drew pixels got no further than the decoder. Its input is the decoder's output in those
    coordinates and fixed noise; its last layer starts at zero, so it starts at that output. The posterior is the same.

    Attributes:
        steps: of Adam.
        rate: learning rate of the weights.
        width: of the network.
        batch: images that are optimised at a time.
    """

    name: ClassVar[str] = "deep_prior"
    order: ClassVar[int] = 4
    standard: ClassVar[bool] = False
    QUICK: ClassVar[dict[str, Any]] = {"steps": 12}

    steps: int = 60
    rate: float = 0.003
    width: int = 64
    batch: int = 64

    def searches(self, centre: Tensor) -> Iterator[Coordinates]:
        """One, from the decoder's output."""
        yield _Drawn(centre, self.spread, self.width)


class _Drawn:
    """Networks side by side as the groups of one, each over the patches of its image."""

    def __init__(self, centre: Tensor, spread: Spread, width: int) -> None:
        self.centre, self.spread = centre, spread
        count, grid = len(centre), spread.signal.grid
        patches = spread.signal.to_units(centre - centre.mean((2, 3), keepdim=True))
        given = patches.transpose(1, 2).unflatten(2, grid)
        given = torch.cat([given / given.std().clamp_min(1e-6), torch.randn(count, width, *grid).to(given)], 1)
        self.input, drawn = given.flatten(0, 1)[None], patches.shape[-1]

        def convolution(before: int, after: int) -> nn.Module:
            return nn.Conv2d(before * count, after * count, 3, padding=1, groups=count)

        def layer(before: int, after: int) -> list[nn.Module]:
            return [convolution(before, after), nn.GroupNorm(count, after * count), nn.GELU()]

        last = convolution(width, drawn)
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.network = nn.Sequential(*layer(given.shape[1], width), *layer(width, width), last).to(centre.device)
        self.parameters: list[Tensor] = list(self.network.parameters())

    def images(self) -> Tensor:
        drawn = self.network(self.input).unflatten(1, (len(self.centre), -1))[0]
        self.white = drawn.flatten(2).transpose(1, 2)
        return self.centre + self.spread.error(self.white)

    def improbability(self) -> Tensor:
        return self.white.square().sum((1, 2)) / 2
