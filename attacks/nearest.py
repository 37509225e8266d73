"""Retrieval: the auxiliary image whose tokens are the most similar."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn.functional import normalize

from atm.link import Link
from atm.threat import Knowledge, Observation, ThreatModel
from attacks.base import image_features


class Nearest:
    """Answers with the auxiliary image that is nearest in feature space (cosine of the centred class token).

    It rebuilds nothing, but where she has a picture that is nearly the victim's, the tokens tell her which.
    """

    name: ClassVar[str] = "nearest"
    needs: ClassVar[Knowledge] = Knowledge.AUXILIARY

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Send the auxiliary images and keep their features."""
        threat.require(self.needs, self.name)
        self.images = images
        features = image_features(threat.tap_images(link, images))
        self.centre = features.mean(0)
        self.features = normalize(features - self.centre, dim=-1)

    def reconstruct(self, seen: Observation) -> Tensor:
        """The nearest auxiliary images."""
        features = normalize(image_features(seen) - self.centre, dim=-1)
        return self.images[(features @ self.features.T).argmax(-1)]
