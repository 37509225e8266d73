"""What all descents share: where they begin, how far from there the truth lies, and how likely what arrived is."""

from __future__ import annotations

from typing import ClassVar

import torch

from atm.link import Link
from atm.threat import Observation, ThreatModel
from attacks.base import held_out
from attacks.decoder import Decoder
from attacks.objective import MEASURED, Likelihood
from attacks.shared import fitted
from attacks.spread import Spread
from attacks.training import reconstruction_loss

ROUNDS = 10  # of putting tokens where a reconstruction expects them, at most


class Posterior:
    """The decoder's output as the mean of a prior, its errors on held-out images as the width, and the likelihood.

    Where the merge map is hidden, each token first goes to the patches where the decoder's output, sent through the
    adversary's own device, would have put something like it; then the decoder sees the better map. How often that
    helps is chosen on the held-out images.
    """

    name: ClassVar[str] = "posterior"

    def fit(self, link: Link, threat: ThreatModel, images: torch.Tensor) -> None:
        """Fit the decoder, and measure its errors and the noise."""
        self.start = fitted(Decoder, link, threat, images)
        self.likelihood = Likelihood(link, threat, images)
        held = held_out(len(images))[1][:MEASURED]
        self.own, self.originals = threat.tap_images(link, images).select(held), images[held]
        self.rounds = 0
        self.own, self.estimates = self.begin(self.own)
        least = self._error(self.estimates)
        while self.likelihood.alignment is not None and self.rounds < ROUNDS:
            seen, estimates = self._round(self.own, self.estimates)
            error = self._error(estimates)
            if not error <= least:
                break
            self.own, self.estimates, least = seen, estimates, error
            self.rounds += 1
        self.spread = Spread(self.originals - self.estimates, link.encoder.patch_grid)

    def begin(self, seen: Observation) -> tuple[Observation, torch.Tensor]:
        """The observation with a merge map, and the decoder's output ``[B, 3, H, W]`` for it."""
        seen = self.likelihood.align(seen)
        estimate = self.start.reconstruct(seen)
        for _ in range(self.rounds):
            seen, estimate = self._round(seen, estimate)
        return seen, estimate

    def _error(self, estimate: torch.Tensor) -> float:
        return float(reconstruction_loss(estimate, self.originals))

    def _round(self, seen: Observation, estimate: torch.Tensor) -> tuple[Observation, torch.Tensor]:
        seen = self.likelihood.realigned(seen, estimate)
        return seen, self.start.reconstruct(seen)
