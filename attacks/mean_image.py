"""A blind baseline: the mean auxiliary image, whatever was sent."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from atm.link import Link
from atm.threat import Knowledge, Observation, ThreatModel


class MeanImage:
    """Answers every observation with the mean of the auxiliary images; an attack that does no better saw nothing."""

    name: ClassVar[str] = "mean_image"
    needs: ClassVar[Knowledge] = Knowledge.AUXILIARY

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Take the mean."""
        threat.require(self.needs, self.name)
        self.mean = images.mean(0)

    def reconstruct(self, seen: Observation) -> Tensor:
        """The mean, for every image."""
        return self.mean.expand(len(seen), -1, -1, -1)
