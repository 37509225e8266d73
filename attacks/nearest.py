"""Retrieval: the auxiliary image whose tokens are the most similar."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from atm.threat import Observation
from attacks.base import Attack, image_features, require
from attacks.oracle import Oracle


class Nearest(Attack):
    """Answers with the auxiliary image that is nearest in feature space (cosine of the centred class token).

    It rebuilds nothing, but where she has a picture that is nearly the victim's, the tokens tell her which.
    """

    name: ClassVar[str] = "nearest"

    def fit(self, oracle: Oracle) -> None:
        """Send the auxiliary images and keep their features."""
        require(self, oracle.threat)
        self.images = oracle.images
        features = torch.cat([self.describe(oracle.observe(rows)) for rows in oracle.batches()])
        self.centre = features.mean(0)
        self.features = normalize(features - self.centre, dim=-1)

    def describe(self, seen: Observation) -> Tensor:
        """``[B, d]``: what is compared."""
        return image_features(seen)

    def reconstruct(self, seen: Observation) -> Tensor:
        """The nearest auxiliary images."""
        features = normalize(self.describe(seen) - self.centre, dim=-1)
        return self.images[(features @ self.features.T).argmax(-1)]
