"""Laplace noise on every token."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from atm.defence import Defence
from atm.link import Link
from atm.tokens import TokenBatch
from defenses.base import MOST_NOISE, calibration_tokens, check, deviation, fitted_or_fail, uniform


class Laplace(Defence):
    """Adds Laplace noise; ``laplace:0.5`` with half the standard deviation of the tokens.

    The noise's standard deviation, not its scale b, is given, so that it compares with Gaussian noise. No differential
    privacy is claimed: values are not clipped, so their sensitivity has no bound.
    """

    name = "laplace"

    def __init__(self, strength: float) -> None:
        check(0 <= strength <= MOST_NOISE, self.name, strength, f"give 0 to {MOST_NOISE} deviations of the tokens")
        self.strength = strength
        self.scale: float | None = None

    def fit(self, link: Link, images: Tensor) -> None:
        """Measure the tokens' deviation; a Laplace variable of scale b deviates by b times the root of 2."""
        self.scale = self.strength * deviation(calibration_tokens(link, images).values) / math.sqrt(2)

    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """The tokens with independent noise on every value, by inversion of the distribution."""
        fitted_or_fail(self.scale, self.name)
        assert self.scale is not None
        u = uniform(tokens.values, generator) - 0.5
        noise = -u.sign() * torch.log1p(-2 * u.abs().clamp_max(0.5 - 1e-7))
        return tokens.with_values(tokens.values + self.scale * noise)

    def expected(self, tokens: TokenBatch) -> TokenBatch:
        """The tokens: the noise has mean 0."""
        return tokens
