"""Uniform quantisation of every token value."""

from __future__ import annotations

import torch
from torch import Tensor

from atm.defence import Defence
from atm.link import Link
from atm.tokens import TokenBatch
from defenses.base import calibration_tokens, check, fitted_or_fail


class Quantize(Defence):
    """Rounds every value to one of 2^bits levels; ``quantize:4`` to 16.

    The levels of each of a token's d values are spread evenly over what the calibration images take. Gradients pass
    straight through (Bengio et al. 2013), so that rounding does not seem private only because it stops a gradient.
    """

    name = "quantize"

    def __init__(self, bits: int) -> None:
        check(isinstance(bits, int) and 1 <= bits <= 16, self.name, bits, "give 1 to 16 whole bits")
        self.steps = 2**bits - 1
        self.low: Tensor | None = None

    def fit(self, link: Link, images: Tensor) -> None:
        """Take the range of each of the d values."""
        values = calibration_tokens(link, images).values
        self.low, self.step = values.amin(0), ((values.amax(0) - values.amin(0)) / self.steps).clamp_min(1e-12)

    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """Every value at the nearest level; outside the range at its end."""
        fitted_or_fail(self.low, self.name)
        assert self.low is not None
        values = tokens.values
        level = ((values.detach() - self.low) / self.step).round().clamp(0, self.steps)
        return tokens.with_values(self.low + level * self.step + (values - values.detach()))
