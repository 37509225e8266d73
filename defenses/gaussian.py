"""Gaussian noise on every token."""

from __future__ import annotations

import torch
from torch import Tensor

from atm.defence import Defence
from atm.link import Link
from atm.tokens import TokenBatch
from defenses.base import MOST_NOISE, calibration_tokens, check, deviation, fitted_or_fail, normal


class Gaussian(Defence):
    """Adds Gaussian noise; ``gaussian:0.5`` with half the standard deviation of the tokens.

    Protected tokens get it too, or they would carry what the others hide.
    """

    name = "gaussian"

    def __init__(self, strength: float) -> None:
        check(0 <= strength <= MOST_NOISE, self.name, strength, f"give 0 to {MOST_NOISE} deviations of the tokens")
        self.strength = strength
        self.sigma: float | None = None

    def fit(self, link: Link, images: Tensor) -> None:
        """Measure the tokens' deviation; the noise keeps this absolute scale whatever is sent."""
        self.sigma = self.strength * deviation(calibration_tokens(link, images).values)

    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """The tokens with independent noise on every value."""
        fitted_or_fail(self.sigma, self.name)
        assert self.sigma is not None
        return tokens.with_values(tokens.values + self.sigma * normal(tokens.values, generator))

    def expected(self, tokens: TokenBatch) -> TokenBatch:
        """The tokens: the noise has mean 0."""
        return tokens
