"""Tokens that go together with the picture as little as may be, by distance correlation (NoPeek)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from atm.tokens import TokenBatch
from defenses.learned import Corrected, Leak, Learned


class NoPeek(Learned):
    """A network over tokens trained to lower their distance correlation with the picture; ``nopeek:2`` weighs it twice.

    After Vepakomma et al. 2020 (arXiv 2008.09161), who train the device with it. A low correlation between distances is
    no bound on what an inversion finds, and what a class token tells is not counted.
    """

    name = "nopeek"

    def begin(self, tokens: TokenBatch, patches: Tensor) -> tuple[nn.Module, Leak]:
        """A correction that begins as none; the distance correlation of a batch."""

        def leak(sent: TokenBatch, rows: Tensor, classes: Tensor) -> Tensor:
            return distance_correlation(patches[rows].flatten(1), sent.per_patch().flatten(1))

        return Corrected(tokens.values.shape[1]), leak


def distance_correlation(x: Tensor, y: Tensor) -> Tensor:
    """From 0 to 1, of rows ``[n, a]`` and ``[n, b]``; of many, 0 only if independent (Székely et al. 2007)."""
    first, second = _centred(x), _centred(y)
    covariance, variances = (first * second).mean(), first.square().mean() * second.square().mean()
    return (covariance.clamp_min(0) / variances.sqrt().clamp_min(1e-12) + 1e-12).sqrt()


def _centred(x: Tensor) -> Tensor:
    """``[n, n]``, distances without the means of their rows and columns."""
    x = x - x.mean(0)  # which no distance is changed by, and rounding is
    squares, itself = x.square().sum(-1), torch.eye(len(x), device=x.device)
    between = (squares[:, None] + squares - 2 * x @ x.T).clamp_min(1e-12)
    distances = (between + itself).sqrt() * (1 - itself)  # the root of 0 has no slope
    return distances - distances.mean(0) - distances.mean(1, keepdim=True) + distances.mean()
