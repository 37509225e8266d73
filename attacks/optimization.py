"""White-box inversion: the most probable image given what arrived and what the best decoder makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from atm.threat import ThreatModel
from attacks.descent import Coordinates, Descent
from attacks.lbfgs import minimise
from attacks.objective import Target
from attacks.spread import Spread


@dataclass
class Optimization(Descent):
    """A search over the pixels, in the coordinates in which the decoder's errors are white (`attacks.spread`).

    By L-BFGS, which on unmerged tokens of ``vit_cifar10`` gets in 30 steps where Adam gets in 120.

    Attributes:
        steps: of L-BFGS, at most.
        starts: descents: the first from the decoder's output, the others from draws of the prior.
        batch: images that are optimised at a time.
    """

    name: ClassVar[str] = "optimization"
    order: ClassVar[int] = 3
    QUICK: ClassVar[dict[str, Any]] = {"steps": 12}

    steps: int = 60
    starts: int = 1
    batch: int = 32

    @classmethod
    def share(cls, threat: ThreatModel) -> float:
        """Much, because it is the strongest."""
        return 6

    def searches(self, centre: Tensor) -> Iterator[Coordinates]:
        """From the decoder's output first, then from around it."""
        signal = self.spread.signal
        for number in range(self.starts):
            draw = torch.randn if number else torch.zeros
            yield _Pixels(centre, draw(len(centre), signal.places, signal.unit).to(centre.device), self.spread)

    def _descend(self, place: Coordinates, target: Target, steps: int) -> tuple[Tensor, Tensor]:
        (start,) = place.parameters
        shape, slope = start.shape, torch.zeros(())

        def posterior(offset: Tensor) -> tuple[Tensor, Tensor]:
            nonlocal slope
            with torch.enable_grad():
                start.data = offset.view(shape)
                loss, _ = self._judged(place, target)
                (gradient,) = torch.autograd.grad(loss.sum(), start)
            slope = gradient.flatten(1) - offset  # the likelihood's part: the prior's is the offset itself
            return loss.detach(), gradient.flatten(1)

        def record(step: int, losses: Tensor) -> None:
            assert self.history is not None
            self.history.step(losses.sum(), slope.norm(), step)

        begin = start.detach().clone().flatten(1)
        found, losses = minimise(posterior, begin, steps, each=record)
        with torch.no_grad():
            start.data = found.view(shape)
            return losses, place.images().clamp(0, 1)


class _Pixels:
    def __init__(self, centre: Tensor, offset: Tensor, spread: Spread) -> None:
        self.centre, self.offset, self.spread = centre, offset.requires_grad_(), spread
        self.parameters = [self.offset]

    def images(self) -> Tensor:
        return self.centre + self.spread.error(self.offset)

    def improbability(self) -> Tensor:
        return self.offset.square().sum((1, 2)) / 2
