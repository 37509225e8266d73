"""What all descents share: where they begin, how far from there the truth lies, and how likely what arrived is."""

from __future__ import annotations

from typing import ClassVar

import torch

from atm.signals import arrays
from atm.threat import Observation
from attacks.base import Attack, Method, held_out
from attacks.context import Context
from attacks.decoder import Decoder
from attacks.objective import MEASURED, Likelihood
from attacks.oracle import Oracle
from attacks.spread import Spread
from attacks.stacked import Stacked

ROUNDS = 10  # of putting tokens where a reconstruction expects them, at most


class Posterior(Method):
    """The decoder's output as the mean of a prior, its errors on held-out images as the width, and the likelihood.

    Where the decoder had too little time, on large pictures, `attacks.context` takes its place, or `attacks.stacked`:
    whichever errs least on the held-out images.

    Where the merge map is hidden, each token first goes to the patches where the decoder's output, sent through the
    adversary's own device, would have put something like it; then the decoder sees the better map. How often that
    helps is chosen on the held-out images.
    """

    name: ClassVar[str] = "posterior"

    def fit(self, oracle: Oracle) -> None:
        """Fit the decoder, and measure its errors and the noise."""
        starts: list[Attack] = [oracle.fitted(make) for make in (Decoder, Context, Stacked)]
        self.likelihood = Likelihood(oracle)
        self.loss = oracle.signal.loss
        held = held_out(len(oracle.images))[1][:MEASURED]
        self.own, self.originals = oracle.observe(held), oracle.images[held]
        self.rounds = 0
        aligned = self.likelihood.align(self.own)
        self.start = min(starts, key=lambda start: self._error(start.reconstruct(aligned)))
        self.own, self.estimates = self.begin(self.own)
        least = self._error(self.estimates)
        while self.likelihood.alignment is not None and self.rounds < ROUNDS:
            seen, estimates = self._round(self.own, self.estimates)
            error = self._error(estimates)
            if not error <= least:
                break
            self.own, self.estimates, least = seen, estimates, error
            self.rounds += 1
        self.spread = Spread(self.originals - self.estimates, arrays(oracle.signal))

    def begin(self, seen: Observation) -> tuple[Observation, torch.Tensor]:
        """The observation with a merge map, and the output ``[B, C, H, W]`` of where descents start for it."""
        seen = self.likelihood.align(seen)
        estimate = self.start.reconstruct(seen)
        for _ in range(self.rounds):
            seen, estimate = self._round(seen, estimate)
        return seen, estimate

    def _error(self, estimate: torch.Tensor) -> float:
        return float(self.loss(estimate, self.originals))

    def _round(self, seen: Observation, estimate: torch.Tensor) -> tuple[Observation, torch.Tensor]:
        seen = self.likelihood.realigned(seen, estimate)
        return seen, self.start.reconstruct(seen)
