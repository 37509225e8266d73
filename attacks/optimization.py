"""White-box inversion: the most probable image given what arrived and what the best decoder makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from atm.threat import ThreatModel
from attacks.base import to_patches
from attacks.descent import Coordinates, Descent, Spread


@dataclass
class Optimization(Descent):
    """A search over the pixels, in the coordinates in which the decoder's errors are white (`attacks.descent`).

    Attributes:
        steps: of Adam.
        rate: learning rate, in deviations of the prior.
        starts: descents: the first from the decoder's output, the others from draws of the prior.
        batch: images that are optimised at a time.
    """

    name: ClassVar[str] = "optimization"
    order: ClassVar[int] = 3
    QUICK: ClassVar[dict[str, Any]] = {"steps": 12}

    steps: int = 60
    rate: float = 0.1
    starts: int = 1
    batch: int = 64

    @classmethod
    def share(cls, threat: ThreatModel) -> float:
        """Much, because it is the strongest."""
        return 4

    def searches(self, centre: Tensor) -> Iterator[Coordinates]:
        """From the decoder's output first, then from around it."""
        shape = to_patches(centre, self.grid).shape
        for number in range(self.starts):
            yield _Pixels(centre, torch.randn(shape) if number else torch.zeros(shape), self.spread)


class _Pixels:
    def __init__(self, centre: Tensor, offset: Tensor, spread: Spread) -> None:
        self.centre, self.offset, self.spread = centre, offset.requires_grad_(), spread
        self.parameters = [self.offset]

    def images(self) -> Tensor:
        return self.centre + self.spread.error(self.offset)

    def improbability(self) -> Tensor:
        return self.offset.square().sum((1, 2)) / 2
