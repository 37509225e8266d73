"""Lower bounds on the mean squared error of any inversion through Gaussian noise. Pure mathematics, no model.

A bound says what no attack can beat, under its assumptions; an attack says what is possible. Neither replaces the
other, and bounds are never mixed into scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def dfil(trace: Tensor, dimensions: int, variance: float) -> Tensor:
    """Diagonal Fisher information leakage (Maeng et al., NeurIPS 2023, arXiv 2305.04146).

    For ``z = f(x) + n`` with white Gaussian noise the Fisher information about x is ``J^T J / variance``; this is its
    mean diagonal element.

    Args:
        trace: ``[B]``, ``Tr(J^T J)`` at each image.
        dimensions: d, numbers in an image.
        variance: of the noise on each real number of z.
    """
    return trace / (dimensions * variance)


def unbiased_bound(leakage: Tensor) -> Tensor:
    """``1 / dFIL``: mean squared error per pixel of any unbiased attacker at that image (the same source).

    Local, and of no use against an attacker with a prior: every good one is biased.
    """
    return 1 / leakage


def van_trees_bound(leakage: Tensor, prior_information: float) -> float:
    """``1 / (E[dFIL] + J)``: mean squared error per pixel of any attacker, averaged over images of a known prior.

    The van Trees inequality in its trace form; the version for arbitrary attackers in Maeng et al.

    Args:
        leakage: ``[B]``, dFIL at images of the prior.
        prior_information: J, the prior's Fisher information per pixel.
    """
    return 1 / (float(leakage.double().mean()) + prior_information)


def entropy_bound(entropy_power: float, information: float, dimensions: int) -> float:
    """``exp(2 H(x | z) / d) / (2 pi e)``: mean squared error per pixel of any attacker (Xia et al., CVPR 2025).

    Written with ``H(x | z) = H(x) - I(x; z)``, it is the entropy power of x, shrunk by ``exp(-2 I / d)``.

    Args:
        entropy_power: ``exp(2 H(x) / d) / (2 pi e)``; of a Gaussian, the geometric mean of its variances.
        information: I(x; z) in nats, or an upper bound on it.
        dimensions: d.
    """
    return entropy_power * math.exp(-2 * information / dimensions)


def mixture_information(clean: Tensor, variance: float, clusters: tuple[int, ...] = (1, 4, 16)) -> float:
    """Upper bound in nats on ``I(x; z)`` for ``z = clean(x) + n``, from a Gaussian mixture (Xia et al., CVPR 2025).

    ``H(z) <= sum_i p_i (-log p_i + log det(2 pi e (S_i + variance I)) / 2)`` for any partition into clusters of
    probability p_i and covariance S_i, since a Gaussian has the most entropy of all with its covariance; the noise has
    ``H(z | x)``. The partition is found by k-means; of several numbers of clusters the tightest bound is taken.

    Args:
        clean: ``[N, m]`` samples without noise; far more of them than m, or covariances come out too small.
        variance: of the noise on each of the m numbers.
        clusters: numbers of clusters to try; those that would leave fewer than 2 m samples in a cluster are skipped.
    """
    samples, bounds = clean.double(), []
    for number in clusters:
        member = _k_means(samples, number)
        counts = torch.bincount(member, minlength=number)
        if number > 1 and int(counts.min()) < 2 * samples.shape[1]:
            continue
        total = 0.0
        for cluster, count in enumerate(counts.tolist()):
            share, own = count / len(samples), samples[member == cluster]
            total += share * (_gaussian_information(own, variance) - math.log(share))
        bounds.append(total)
    return min(bounds)


def _gaussian_information(samples: Tensor, variance: float) -> float:
    centred = samples - samples.mean(0)
    eigenvalues = torch.linalg.eigvalsh(centred.T @ centred / len(samples)).clamp_min(0)
    return 0.5 * float(torch.log1p(eigenvalues / variance).sum())


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


@dataclass(frozen=True)
class GaussianPrior:
    """Images taken as independent Gaussian pieces of equal covariance.

    Attributes:
        entropy_power: per number, ``det(S)^(1/m)``.
        information: Fisher information per number, ``Tr(S^-1) / m``.
    """

    entropy_power: float
    information: float

    @classmethod
    def of(cls, pieces: Tensor, floor: float = 1e-6) -> GaussianPrior:
        """Fitted to ``[N, m]`` pieces such as patches; eigenvalues below ``floor`` count as it (pixels are rounded)."""
        centred = pieces.double() - pieces.double().mean(0)
        eigenvalues = torch.linalg.eigvalsh(centred.T @ centred / len(pieces)).clamp_min(floor)
        return cls(float(eigenvalues.log().mean().exp()), float((1 / eigenvalues).mean()))
