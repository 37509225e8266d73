"""Lower bounds on the mean squared error of any inversion through Gaussian noise. Pure mathematics, no model.

A bound says what no attack can beat, under its assumptions; an attack says what is possible. Neither replaces the
other, and bounds are never mixed into scores.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy.stats import t as student
from torch import Tensor

GROUPS = 20  # of images, that the jackknife leaves out in turn
FEWEST = 20  # samples for each dimension, below which a covariance says little


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


def unbiased_bound(leakage: float) -> float:
    """``1 / E[dFIL]``: mean squared error per pixel of any unbiased attacker, averaged over images (the same source).

    At a single image it is ``1 / dFIL``, whose mean is no smaller. The mean of inverted estimates would be too large.
    Of no use against an attacker with a prior: every good one is biased.

    Args:
        leakage: mean dFIL, or an upper bound on it.
    """
    return 1 / leakage


def van_trees_bound(leakage: float, prior_information: float) -> float:
    """``1 / (E[dFIL] + J)``: mean squared error per pixel of any attacker, averaged over images of a known prior.

    The van Trees inequality in its trace form; the version for arbitrary attackers in Maeng et al.

    Args:
        leakage: mean dFIL over images of the prior, or an upper bound on it.
        prior_information: J, the prior's Fisher information per pixel, or an upper bound on it.
    """
    return 1 / (leakage + prior_information)


def entropy_bound(entropy_power: float, information: float, dimensions: int) -> float:
    """``exp(2 H(x | z) / d) / (2 pi e)``: mean squared error per pixel of any attacker (Xia et al., CVPR 2025).

    Written with ``H(x | z) = H(x) - I(x; z)``, it is the entropy power of x, shrunk by ``exp(-2 I / d)``.

    Args:
        entropy_power: ``exp(2 H(x) / d) / (2 pi e)``, or a lower bound on it; of a Gaussian, the geometric mean of its
            variances.
        information: I(x; z) in nats, or an upper bound on it.
        dimensions: d.
    """
    return entropy_power * math.exp(-2 * information / dimensions)


@dataclass(frozen=True)
class GaussianPrior:
    """Images taken as independent Gaussian pieces of equal covariance. No image is: what rests on it is no guarantee.

    Attributes:
        entropy_power: per number, ``det(S)^(1/m)``; the lower confidence limit.
        information: Fisher information per number, ``Tr(S^-1) / m``; the upper confidence limit.
    """

    entropy_power: float
    information: float

    @classmethod
    def of(cls, pieces: Tensor, level: float = 0.95, floor: float = 1e-6) -> GaussianPrior:
        """Fitted to pieces such as patches, each limit at its own confidence level.

        With few samples small eigenvalues come out too small, which makes either number err on the safe side; how far
        chance moves them to the other side is the jackknife's estimate, which leaves out groups of images, since pieces
        of one image are alike.

        Args:
            pieces: ``[N, P, m]``, P pieces of each image.
            level: of confidence, in (0, 1).
            floor: smaller eigenvalues count as this one (pixels are rounded).

        Raises:
            ValueError: fewer than `GROUPS` images, or than `FEWEST` pieces for each dimension.
        """
        images, _, width = pieces.shape
        if images < GROUPS or pieces[..., 0].numel() < FEWEST * width:
            raise ValueError(
                f"{pieces[..., 0].numel()} patches of {images} pictures are too few: a distribution of {width} "
                f"dimensions needs {FEWEST * width} of {GROUPS} pictures"
            )
        parts = [part.flatten(0, 1) for part in pieces.double().tensor_split(GROUPS)]
        count = torch.tensor([len(part) for part in parts], dtype=torch.float64)
        mean = torch.stack([part.sum(0) for part in parts])
        square = torch.stack([part.T @ part for part in parts])

        def fitted(keep: Tensor) -> Tensor:
            weight = keep / (keep * count).sum()
            centre = (weight[:, None] * mean).sum(0)
            covariance = (weight[:, None, None] * square).sum(0) - centre[:, None] * centre
            eigenvalues = torch.linalg.eigvalsh(covariance).clamp_min(floor)
            return torch.stack([eigenvalues.log().mean(), (1 / eigenvalues).mean()])

        whole = fitted(torch.ones_like(count))
        without = torch.stack([fitted(1 - one) for one in torch.eye(GROUPS, dtype=torch.float64)])
        deviation = ((GROUPS - 1) * without.var(0, correction=0)).sqrt()
        margin = float(student.ppf(level, GROUPS - 1)) * deviation
        return cls(float((whole[0] - margin[0]).exp()), float(whole[1] + margin[1]))
