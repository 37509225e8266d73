"""A blind baseline: any auxiliary picture."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from atm.link import Link
from atm.threat import Knowledge, Observation, ThreatModel


class RandomImage:
    """Answers each observation with an auxiliary picture drawn at random: what a real picture reaches by chance.

    It is the yardstick of attacks that answer with real pictures, which an average picture beats in SSIM however
    similar they are.
    """

    name: ClassVar[str] = "random_image"
    needs: ClassVar[Knowledge] = Knowledge.AUXILIARY

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Keep the pictures."""
        threat.require(self.needs, self.name)
        self.images = images

    def reconstruct(self, seen: Observation) -> Tensor:
        """A random auxiliary picture for each image."""
        return self.images[torch.randint(len(self.images), (len(seen),))]
