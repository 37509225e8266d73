"""What a linear adversary reads of tokens, as a number with gradients."""

from __future__ import annotations

import torch
from torch import Tensor

STRENGTH = 1e-2  # of the ridge, relative to the mean eigenvalue of the tokens' covariance


def explained(tokens: Tensor, patches: Tensor) -> Tensor:
    """The part of the patches' variance that ridge regression on tokens explains in images that it was not fitted to.

    It is solved exactly on the first half of the images, and judged on the others; 1 is a perfect copy, 0 no more than
    the mean patch, and what is less counts as 0.

    Args:
        tokens: ``[B, P, d]``, of at least two images, for each patch the token that it ended in.
        patches: ``[B, P, C * h * w]``.
    """
    half = len(tokens) // 2
    x, y = tokens[:half].flatten(0, 1), patches[:half].flatten(0, 1)
    shift, mean = x.mean(0), y.mean(0)
    x, y = x - shift, y - mean
    covariance = x.T @ x
    strength = STRENGTH * covariance.diagonal().mean()
    weights = torch.linalg.solve(covariance + strength * torch.eye(x.shape[1], device=x.device), x.T @ y)
    asked, truth = tokens[half:] - shift, patches[half:] - mean
    error = (asked @ weights - truth).square().mean() / truth.square().mean().clamp_min(1e-12)
    return (1 - error).clamp_min(0.0)
