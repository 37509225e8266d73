"""What symbols in Gaussian noise can tell about an image: an upper bound that no choice of samples makes too small."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from privacy_metrics.limits import bernstein_limit

FEWEST = 2  # samples for each dimension that a cluster needs; fewer would do no harm, and no good


def information_bound(
    clean: Tensor,
    image: Tensor,
    variance: float,
    power: float,
    most: int,
    level: float = 0.95,
    clusters: tuple[int, ...] = (1, 4, 16),
) -> float:
    """Upper confidence limit in nats of ``I(x; z)``, on average over images, for tokens ``z = clean(x) + n``.

    For any density q whatever, ``E[-log q(z)] >= H(z)``, so that ``E[-log q(z)] - H(n) >= I(x; z)`` (Barber & Agakov,
    NeurIPS 2003). Densities are fitted to every second image: Gaussian mixtures over tokens (Xia et al., CVPR 2025, who
    fit and evaluate on the same samples, which makes the bound too small). They are evaluated on the other images,
    where that mean is an unbiased estimate. Averaging over the noise is done in closed form. A white Gaussian of the
    channel's power needs no fit, and its value is the channel's capacity: it limits every image's share, and so the
    mean's confidence limit holds for any distribution of images.

    Args:
        clean: ``[T, m]`` real numbers of each token on the air, without noise.
        image: ``[T]`` int64, the image that each belongs to, from 0. Images are independent, tokens need not be.
        variance: of the noise on each number.
        power: mean square of an image's numbers, at most.
        most: tokens of an image, at most.
        level: of confidence, in (0, 1).
        clusters: numbers of Gaussians in the mixtures that are tried.

    Raises:
        ValueError: an image has more power or more tokens than it can have.
    """
    tokens, width = clean.double(), clean.shape[1]
    counts = torch.bincount(image)
    energy = torch.zeros(len(counts), dtype=torch.float64).index_add(0, image, tokens.square().sum(1))
    if int(counts.max()) > most or bool((energy > power * counts * width * (1 + 1e-4)).any()):
        raise ValueError(f"an image has more than {most} tokens, or more than the power of {power}")
    capacity = most * width / 2 * math.log1p(power / variance)
    fitting = image % 2 == 0
    if int((counts[1::2] > 0).sum()) < 2:
        return capacity
    white = _Mixture(torch.zeros(1), torch.zeros(1, width), torch.eye(width)[None] * (power + variance))
    densities = [white, *_mixtures(tokens[fitting], variance, clusters)]
    held, owner = tokens[~fitting], image[~fitting] // 2
    number = int(owner.max()) + 1
    told = torch.stack([
        torch.zeros(number, dtype=torch.float64).index_add(0, owner, density.excess(held, variance))
        for density in densities
    ])  # fmt: skip
    # One density, too: that which for a whole image is each of them with equal probability.
    price = math.log(len(densities))
    return min(capacity, bernstein_limit(told.amin(0) + price, capacity * (1 + 1e-4) + price, level))


@dataclass(frozen=True)
class _Mixture:
    """A density of noisy tokens: c Gaussians with the logarithms of their weights."""

    log_weight: Tensor
    mean: Tensor
    covariance: Tensor

    def excess(self, clean: Tensor, variance: float) -> Tensor:
        """``[T]``: at least ``E[-log q(clean + n)] - H(n)`` over the noise, as q is at least each of its parts."""
        width, parts = clean.shape[1], []
        for weight, mean, covariance in zip(self.log_weight, self.mean, self.covariance, strict=True):
            factor = torch.linalg.cholesky(covariance.double())
            inverse = torch.cholesky_inverse(factor)
            centred = clean - mean
            squares = ((centred @ inverse) * centred).sum(1) + variance * inverse.trace() - width
            shape = 2 * factor.diagonal().log().sum() - width * math.log(variance)
            parts.append((squares + shape) / 2 - weight)
        return torch.stack(parts).amin(0)


def _mixtures(samples: Tensor, variance: float, clusters: tuple[int, ...]) -> list[_Mixture]:
    found = []
    for number in clusters:
        member = _k_means(samples, number)
        counts = torch.bincount(member, minlength=number)
        if int(counts.min()) >= FEWEST * samples.shape[1]:
            parts = [samples[member == cluster] for cluster in range(number)]
            noise = variance * torch.eye(samples.shape[1], dtype=samples.dtype)
            covariances = [part.T.cov(correction=0).reshape(noise.shape) + noise for part in parts]
            means = torch.stack([part.mean(0) for part in parts])
            found.append(_Mixture((counts / len(samples)).log(), means, torch.stack(covariances)))
    return found


def _k_means(samples: Tensor, number: int, rounds: int = 20) -> Tensor:
    """``[N]`` clusters; starts from samples spread evenly along the first principal direction."""
    if number == 1:
        return torch.zeros(len(samples), dtype=torch.long)
    centred = samples - samples.mean(0)
    direction = torch.linalg.eigh(centred.T @ centred)[1][:, -1]
    order = (centred @ direction).argsort()
    centres = samples[order[(torch.arange(number) * 2 + 1) * len(samples) // (2 * number)]]
    member = torch.zeros(len(samples), dtype=torch.long)
    for _ in range(rounds):
        member = torch.cdist(samples, centres).argmin(1)
        filled = torch.bincount(member, minlength=number)
        sums = torch.zeros_like(centres).index_add(0, member, samples)
        centres = torch.where(filled[:, None] > 0, sums / filled.clamp_min(1)[:, None], centres)
    return member
