"""A learned inversion network, trained on what the adversary really sees of her own images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from atm import precision
from atm.knowledge import Knowledge
from atm.threat import Observation, ThreatModel
from atm.tokens import TokenBatch
from attacks.alignment import ALIGNABLE, token_features
from attacks.base import Attack, held_out, patch_features, require
from attacks.network import InversionNetwork
from attacks.oracle import Oracle
from attacks.ridge import Ridge
from attacks.training import PIXELS, Schedule, train


@dataclass
class Decoder(Attack):
    """A transformer and convolutions that correct a first estimate, so that they never start behind ridge.

    An adversary with the merge map, or one who can recover it, gives each patch its token. Where the map is hidden,
    the patches also attend to the received tokens as the unordered set that they are; one who cannot recover a map has
    nothing else, and starts from the mean image.

    Attributes:
        width: of the transformer.
        layers: of the transformer.
        schedule: of the training.
        loss: of an estimate and the images, both ``[B, C, H, W]``; None is the signal's own.
    """

    name: ClassVar[str] = "decoder"
    order: ClassVar[int] = 1
    QUICK: ClassVar[dict[str, Any]] = {"schedule": replace(PIXELS, steps=200, every=50)}

    width: int = 128
    layers: int = 1
    schedule: Schedule = PIXELS
    loss: Callable[[Tensor, Tensor], Tensor] | None = None

    @classmethod
    def share(cls, threat: ThreatModel) -> float:
        """Much, because all that descend start from it."""
        return 6

    def fit(self, oracle: Oracle) -> None:
        """Fit ridge where a map is there or can be found, then train the correction."""
        require(self, oracle.threat)
        self.ridge = oracle.fitted(Ridge) if any(option in oracle.knows for option in ALIGNABLE) else None
        self.complete = oracle.complete
        self.has_map = Knowledge.MERGE_MAP in oracle.knows
        self.signal, self.mean_image = oracle.signal, oracle.images.mean(0)
        self.learn(oracle.observe(), oracle)

    def learn(self, seen: Observation, oracle: Oracle) -> None:
        """Train on what was seen of the auxiliary images."""
        images, loss = oracle.images, self.loss or oracle.signal.loss
        if not self.has_map:
            values = token_features(seen)
            self.token_mean, self.token_scale = values.mean(0), values.std(0).clamp_min(1e-6)
        start, features, tokens = self._inputs(seen)
        network = InversionNetwork(
            0 if features is None else features.shape[-1],
            0 if tokens is None else tokens.values.shape[-1],
            oracle.signal,
            self.width,
            self.layers,
        )
        self.network = network.to(images.device)

        def loss_on(rows: Tensor) -> Tensor:
            return loss(self._run(start, features, tokens, rows), images[rows])

        rows = held_out(len(images))
        self.history = train(self.network, loss_on, *rows, self.schedule, f"the {self.name}", oracle.budget)

    @torch.no_grad()
    def reconstruct(self, seen: Observation) -> Tensor:
        """The corrected estimate, clipped to [0, 1]."""
        inputs = self._inputs(seen)
        parts = [self._run(*inputs, rows) for rows in torch.arange(len(seen)).split(256)]
        return self.signal.clip(torch.cat(parts))

    @torch.no_grad()
    def _inputs(self, seen: Observation) -> tuple[Tensor, Tensor | None, TokenBatch | None]:
        """First estimate, standardised features of the patches, standardised tokens; as far as there are any."""
        start, features, tokens = self.mean_image.expand(len(seen), -1, -1, -1), None, None
        if self.ridge is not None:
            features = self.features(self.complete(seen))
            start = self.ridge.estimate(features)
            features = precision.stored(self.ridge.linear.standard(features))
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
