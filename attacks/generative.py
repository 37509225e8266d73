"""White-box inversion over the latents of a generator of pictures, then over its intermediate features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from attacks.base import require
from attacks.descent import AdamDescent, Coordinates
from attacks.generator import Generator
from attacks.objective import Target
from attacks.oracle import Oracle
from attacks.spread import Spread


@dataclass
class Generative(AdamDescent):
    """What is searched is a latent, then what the generator makes of it half way to a picture (GLASS, PFO).

    Latents of a generator trained on the auxiliary images leave only changes that look like pictures; the features
    after them give the freedom that latents lack. What is added to the decoder's output is the difference between what
    the generator draws now and what it drew at the start, so that what it cannot draw is not lost. The posterior is
    the one of `attacks.optimization`.

    Attributes:
        steps: of Adam, half of them over the latents, half over the features.
        rate: learning rate of both, whose variance is about 1.
        batch: images that are optimised at a time.
    """

    name: ClassVar[str] = "generative"
    order: ClassVar[int] = 5
    standard: ClassVar[bool] = False
    QUICK: ClassVar[dict[str, Any]] = {"steps": 16}

    steps: int = 60
    rate: float = 0.03
    batch: int = 64

    def fit(self, oracle: Oracle) -> None:
        """Fit the decoder and train the generator."""
        require(self, oracle.threat)
        self.generator = oracle.within(oracle.budget.part(1 / 3, "generator")).fitted(Generator)
        super().fit(oracle)

    def searches(self, centre: Tensor) -> Iterator[Coordinates]:
        """One, from the decoder's output."""
        yield _Latents(centre, self.generator, self.spread)

    def _descend(self, place: Coordinates, target: Target, steps: int, first: int = 0) -> tuple[Tensor, Tensor]:
        assert isinstance(place, _Latents)
        super()._descend(place, target, max(steps // 2, 1))
        return super()._descend(_Features(place), target, max(steps // 2, 1), max(steps // 2, 1))


class _Drawn:
    """What the generator draws, less what it drew of the decoder's output, is added to that output."""

    centre: Tensor
    first: Tensor
    spread: Spread
    generator: Generator

    def features(self) -> Tensor:
        raise NotImplementedError

    def images(self) -> Tensor:
        self.offset = self.generator.images(self.features()) - self.first
        return self.centre + self.offset

    def improbability(self) -> Tensor:
        return self.spread.white(self.offset).square().sum((1, 2)) / 2


class _Latents(_Drawn):
    def __init__(self, centre: Tensor, generator: Generator, spread: Spread) -> None:
        self.centre, self.generator, self.spread = centre, generator, spread
        self.latents = generator.latents(centre).requires_grad_()
        self.parameters = [self.latents]
        with torch.no_grad():
            self.first = generator.images(self.features())

    def features(self) -> Tensor:
        return self.generator.features(self.latents)


class _Features(_Drawn):
    def __init__(self, found: _Latents) -> None:
        self.centre, self.generator, self.spread, self.first = found.centre, found.generator, found.spread, found.first
        self.now = found.features().detach().requires_grad_()
        self.parameters = [self.now]

    def features(self) -> Tensor:
        return self.now
