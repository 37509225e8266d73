"""A learned inversion network, trained on what the adversary really sees of her own images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from atm import precision
from atm.link import Link
from atm.threat import Knowledge, Observation, ThreatModel
from atm.tokens import TokenBatch
from attacks.alignment import ALIGNABLE, aligned, token_features
from attacks.base import held_out, patch_features
from attacks.network import InversionNetwork
from attacks.ridge import Ridge
from attacks.shared import fitted
from attacks.training import PIXELS, Schedule, reconstruction_loss, train


@dataclass
class Decoder:
    """A transformer and convolutions that correct a first estimate, so that they never start behind ridge.

    An adversary with the merge map, or one who can recover it, gives each patch its token. Where the map is hidden,
    the patches also attend to the received tokens as the unordered set that they are; one who cannot recover a map has
    nothing else, and starts from the mean image.

    Attributes:
        width: of the transformer.
        layers: of the transformer.
        schedule: of the training.
        loss: of an estimate and the images, both ``[B, 3, H, W]``.
    """

    name: ClassVar[str] = "decoder"
    needs: ClassVar[Knowledge] = Knowledge.AUXILIARY
    QUICK: ClassVar[dict[str, Any]] = {"schedule": replace(PIXELS, steps=200, every=50)}

    width: int = 128
    layers: int = 1
    schedule: Schedule = PIXELS
    loss: Callable[[Tensor, Tensor], Tensor] = reconstruction_loss

    @classmethod
    def share(cls, threat: ThreatModel) -> float:
        """Much, because all that descend start from it."""
        return 6

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Send the auxiliary images, solve ridge, then train the correction."""
        threat.require(self.needs, self.name)
        threat = threat.under(link.defence)
        can_align = any(option in threat.knows for option in ALIGNABLE)
        self.align = aligned(link, threat, images) if can_align else None
        self.ridge = fitted(Ridge, link, threat, images) if can_align else None
        self.has_map = Knowledge.MERGE_MAP in threat.knows
        self.mean_image = images.mean(0)
        self.learn(threat.tap_images(link, images), images, link.encoder.patch_grid)

    def learn(self, seen: Observation, images: Tensor, grid: tuple[int, int]) -> None:
        """Train on what was seen of the images."""
        if not self.has_map:
            values = token_features(seen)
            self.token_mean, self.token_scale = values.mean(0), values.std(0).clamp_min(1e-6)
        start, features, tokens = self._inputs(seen)
        self.network = InversionNetwork(
            0 if features is None else features.shape[-1],
            0 if tokens is None else tokens.values.shape[-1],
            grid,
            images.shape[-1] // grid[1],
            self.width,
            self.layers,
        )

        def loss_on(rows: Tensor) -> Tensor:
            return self.loss(self._run(start, features, tokens, rows), images[rows])

        self.history = train(self.network, loss_on, *held_out(len(images)), self.schedule, f"the {self.name}")

    @torch.no_grad()
    def reconstruct(self, seen: Observation) -> Tensor:
        """The corrected estimate, clipped to [0, 1]."""
        inputs = self._inputs(seen)
        return torch.cat([self._run(*inputs, rows) for rows in torch.arange(len(seen)).split(256)]).clamp(0, 1)

    @torch.no_grad()
    def _inputs(self, seen: Observation) -> tuple[Tensor, Tensor | None, TokenBatch | None]:
        """First estimate, standardised features of the patches, standardised tokens; as far as there are any."""
        start, features, tokens = self.mean_image.expand(len(seen), -1, -1, -1), None, None
        if self.ridge is not None and self.align is not None:
            features = self.features(self.align(seen))
            start = self.ridge.linear(features)
            features = precision.stored((features - self.ridge.mean) / self.ridge.scale)
        if not self.has_map:
            tokens = seen.tokens.with_values((token_features(seen) - self.token_mean) / self.token_scale)
        return start, features, tokens

    def features(self, seen: Observation) -> Tensor:
        """``[B, P, f]``: what is known of each patch."""
        return patch_features(seen)

    def _run(self, start: Tensor, features: Tensor | None, tokens: TokenBatch | None, rows: Tensor) -> Tensor:
        padded = (None, None) if tokens is None else tokens.select(rows).padded()
        with precision.fast(start.device):
            return self.network(start[rows], None if features is None else features[rows], *padded).float()
