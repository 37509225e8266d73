"""A blind baseline: the mean auxiliary image, whatever was sent."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from atm.threat import Observation
from attacks.base import Attack, require
from attacks.oracle import Oracle


class MeanImage(Attack):
    """Answers every observation with the mean of the auxiliary images; an attack that does no better saw nothing."""

    name: ClassVar[str] = "mean_image"
    blind: ClassVar[bool] = True

    def fit(self, oracle: Oracle) -> None:
        """Take the mean."""
        require(self, oracle.threat)
        self.mean = oracle.images.mean(0)

    def reconstruct(self, seen: Observation) -> Tensor:
        """The mean, for every image."""
        return self.mean.expand(len(seen), -1, -1, -1)
