"""Noise, and tokens that spread little under it within a class: conditional entropy maximisation (CEM)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from atm.tokens import TokenBatch
from defenses.base import MOST_NOISE, check, normal
from defenses.learned import Corrected, Leak, Learned

FEWEST = 2  # pictures of a class that make a part of the mixture of their own


class Cem(Learned):
    """Gaussian noise, and a network before it that lowers what gets through; ``cem:1:0.5`` with weight 1 and noise 0.5.

    For a mixture of Gaussians an adversary's least error grows with the conditional entropy of the picture, and that
    with how little each part of the mixture spreads beside the noise (Xia et al. 2025, arXiv 2503.00383, who train the
    device too). Here the victim's own classes are the parts, and what is made small is the information that passes
    within them, in nats for each value: ``log det(1 + covariance / noise²) / 2d``. The noise is in deviations of all
    tokens. Their bound holds for mixtures of Gaussians, which tokens are not: judge by the attacks.
    """

    name = "cem"

    def __init__(self, weight: float = 1.0, noise: float = 0.5) -> None:
        check(0 < noise <= MOST_NOISE, self.name, noise, f"the noise is above 0 and at most {MOST_NOISE}")
        super().__init__(weight)
        self.noise = noise

    def begin(self, tokens: TokenBatch, patches: Tensor) -> tuple[nn.Module, Leak]:
        """A correction that begins as none; the nats for each value that pass the noise within a class."""
        return Corrected(tokens.values.shape[1]), self._within_classes

    def _within_classes(self, sent: TokenBatch, rows: Tensor, classes: Tensor) -> Tensor:
        counts = torch.bincount(classes)
        parts = torch.where(counts[classes] >= FEWEST, classes + 1, 0)[sent.image_of_token]  # the rare ones together
        total = sent.values.new_zeros(())
        for part in parts.unique().tolist():
            values = sent.values[parts == part]
            total = total + len(values) * through(values, self.noise)
        return total / len(sent.values)

    def noisy(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """Gaussian noise on what comes from the network."""
        return tokens.with_values(tokens.values + self.noise * self.scale * normal(tokens.values, generator))


def through(values: Tensor, noise: float) -> Tensor:
    """Nats for each value that a Gaussian channel of this noise lets through of ``[n, d]``."""
    spread = values - values.mean(0)
    covariance = spread.T @ spread / (len(values) * noise**2)
    return torch.linalg.slogdet(covariance + torch.eye(values.shape[1], device=values.device))[1] / 2 / values.shape[1]
