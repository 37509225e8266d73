"""Projection of tokens on their first principal directions."""

from __future__ import annotations

import torch
from torch import Tensor

from atm.defence import Defence
from atm.link import Link
from atm.tokens import TokenBatch
from defenses.base import calibration_tokens, check, fitted_or_fail


class LowRank(Defence):
    """Keeps the leading principal components of the tokens; ``low-rank:16`` of them 16."""

    name = "low-rank"

    def __init__(self, rank: int) -> None:
        check(isinstance(rank, int) and rank >= 1, self.name, rank, "give a whole rank of at least 1")
        self.rank = rank
        self.basis: Tensor | None = None

    def fit(self, link: Link, images: Tensor) -> None:
        """Principal components of the calibration images' tokens."""
        values = calibration_tokens(link, images).values
        self.mean = values.mean(0)
        _, directions = torch.linalg.eigh((values - self.mean).T @ (values - self.mean))
        self.basis = directions[:, -self.rank :]

    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """The tokens' projection; still d values each, of which only the rank's directions vary."""
        fitted_or_fail(self.basis, self.name)
        assert self.basis is not None
        return tokens.with_values(self.mean + (tokens.values - self.mean) @ self.basis @ self.basis.T)

    def flops(self, lengths: Tensor) -> Tensor:
        """Two products with the basis."""
        assert self.basis is not None
        return 4.0 * lengths.double() * self.basis.numel()
