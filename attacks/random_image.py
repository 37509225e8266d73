"""A blind baseline: any auxiliary picture."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from atm.threat import Observation
from attacks.base import Attack, require
from attacks.oracle import Oracle


class RandomImage(Attack):
    """Answers each observation with an auxiliary picture drawn at random: what a real picture reaches by chance.

    It is the yardstick of attacks that answer with real pictures, which an average picture beats in SSIM however
    similar they are.
    """

    name: ClassVar[str] = "random_image"
    blind: ClassVar[bool] = True

    def fit(self, oracle: Oracle) -> None:
        """Keep the pictures."""
        require(self, oracle.threat)
        self.images = oracle.images

    def reconstruct(self, seen: Observation) -> Tensor:
        """A random auxiliary picture for each image."""
        return self.images[torch.randint(len(self.images), (len(seen),))]
