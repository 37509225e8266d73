"""What a policy leaks, for no more than its accuracy costs: the score that the search minimises.

A score is any object with `PrivacyScore`'s method; `SCORES` names them. It sees one policy's transmission of the images
on which accuracy was measured, so that nothing is sent twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from atm.errors import unknown
from atm.link import Link, Transmission
from atm.threat import Knowledge, ThreatModel
from attacks.base import from_patches, patch_features, to_patches

FOLDS = 4
# Relative to the mean eigenvalue of the features' covariance.
STRENGTHS = tuple(10.0**power for power in range(-6, 1))


class PrivacyScore(Protocol):
    """A cheap score of leakage."""

    @property
    def name(self) -> str:
        """On the command line and in reports."""
        ...

    def prepare(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Whatever can be done once for all policies.

        Raises:
            KnowledgeError: the threat model denies what the score needs.
        """
        ...

    def score(self, link: Link, transmission: Transmission, seed: int = 0) -> Tensor:
        """``[N]``: the leakage of each of the prepared images, from what ``link`` transmitted of them."""
        ...


class CrossFittedRidge:
    """SSIM of the closed-form linear attack, fitted to the very images that it is scored on, but never to its own fold.

    The images are divided into folds; those of one fold are rebuilt by the ridge regression of the other folds. So the
    transmission that gave the accuracy also trains and tests the attack, no auxiliary image is sent, and each fold's
    equations are the sums over all images less its own. The one regularisation strength with the least out-of-fold
    error is taken for all folds.
    """

    name: str = "ridge"
    needs: ClassVar[Knowledge] = Knowledge.AUXILIARY | Knowledge.MERGE_MAP

    def prepare(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Keep the targets; divide the images into folds by their order."""
        threat.require(self.needs, f"{self.name} score")
        self.threat, self.grid, self.images = threat, link.encoder.patch_grid, images
        self.pixels = to_patches(images, self.grid)
        self.quality = SsimTo(images)
        self.fold = torch.arange(len(images)) % min(FOLDS, len(images))

    def score(self, link: Link, transmission: Transmission, seed: int = 0) -> Tensor:
        """``[N]`` SSIM of the out-of-fold reconstructions."""
        return self.quality(self.rebuild(patch_features(self.threat.observe(transmission, link, seed))))

    def rebuild(self, features: Tensor) -> Tensor:
        """Out-of-fold reconstructions ``[N, 3, H, W]`` in [0, 1] from features ``[N, P, f]``."""
        x = features - features.mean(0)
        x = x / x.flatten(0, 1).std(0).clamp_min(1e-6)
        y = self.pixels - self.pixels.mean(0)
        folds = [torch.nonzero(self.fold == k)[:, 0] for k in self.fold.unique()]
        parts = [Moments.of(x[rows], y[rows]) for rows in folds]
        solutions = [Moments.total(parts[:k] + parts[k + 1 :]).solve() for k in range(len(parts))]
        errors = [part.errors(solution) for part, solution in zip(parts, solutions, strict=True)]
        best = int(torch.stack(errors).sum(0).argmin())
        rebuilt = torch.empty_like(self.pixels)
        for rows, solution in zip(folds, solutions, strict=True):
            rebuilt[rows] = solution.estimate(x[rows], best)
        return from_patches(rebuilt + self.pixels.mean(0), self.grid).clamp(0, 1)


@dataclass(frozen=True)
class Moments:
    """All that ridge regression, with an intercept for each of ``P`` positions, needs to know of ``count`` images.

    Attributes:
        count: number of images.
        x: ``[P, f]``, their summed features.
        y: ``[P, t]``, their summed targets.
        xx: ``[f, f]``, summed products over images and positions.
        xy: ``[f, t]``, likewise.
    """

    count: int
    x: Tensor
    y: Tensor
    xx: Tensor
    xy: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> Moments:
        """Of features ``[N, P, f]`` and targets ``[N, P, t]``, best roughly centred so that no digits are lost."""
        a, b = x.flatten(0, 1), y.flatten(0, 1)
        products = ((a.T @ a).double(), (a.T @ b).double())
        return cls(len(x), x.sum(0).double(), y.sum(0).double(), *products)

    @classmethod
    def total(cls, parts: Sequence[Moments]) -> Moments:
        """Of all images together."""
        return cls(*(sum(getattr(part, name) for part in parts) for name in ("count", "x", "y", "xx", "xy")))

    def means(self) -> tuple[Tensor, Tensor]:
        """Mean features and targets of each position."""
        return self.x / self.count, self.y / self.count

    def solve(self) -> Solution:
        """Ridge regression with each of `STRENGTHS`."""
        mean_x, mean_y = self.means()
        rows = self.count * len(mean_x)
        eigenvalues, basis = torch.linalg.eigh((self.xx - self.x.T @ mean_x) / rows)
        strengths = torch.tensor(STRENGTHS, dtype=torch.float64)[:, None] * eigenvalues.mean()
        return Solution(
            mean_x,
            mean_y,
            basis,
            1 / (eigenvalues.clamp_min(0) + strengths),
            basis.T @ ((self.xy - self.x.T @ mean_y) / rows),
        )

    def errors(self, solution: Solution) -> Tensor:
        """``[strengths]``: squared error on these images, up to a constant; no image is rebuilt for it."""
        mean_x, mean_y, basis, damping, projected = solution
        n = self.count
        xx = self.xx - self.x.T @ mean_x - mean_x.T @ self.x + n * mean_x.T @ mean_x
        xy = self.xy - self.x.T @ mean_y - mean_x.T @ self.y + n * mean_x.T @ mean_y
        squares = (basis.T @ xx @ basis) * (projected @ projected.T)
        cross = ((basis.T @ xy) * projected).sum(1)
        return ((damping @ squares) * damping).sum(1) - 2 * damping @ cross


class Solution(NamedTuple):
    """Ridge regressions that differ in strength alone: weights are ``basis @ (damping[k][:, None] * projected)``."""

    mean_x: Tensor
    mean_y: Tensor
    basis: Tensor
    damping: Tensor
    projected: Tensor

    def estimate(self, x: Tensor, strength: int) -> Tensor:
        """``[N, P, t]`` from features ``[N, P, f]``."""
        weights = self.basis @ (self.damping[strength][:, None] * self.projected)
        return (x - self.mean_x.float()) @ weights.float() + self.mean_y.float()


class SsimTo:
    """`privacy_metrics.ssim` to fixed originals, several times as fast.

    The Gaussian window is separable, so along each side filtering with mirrored edges is one matrix; what depends on
    the originals alone is computed once.
    """

    def __init__(self, originals: Tensor) -> None:
        height, width = originals.shape[-2:]
        self.down, self.across = _window(height), _window(width).T
        self.originals, self.mean = originals, self._filter(originals)
        self.variance = self._filter(originals.square()) - self.mean.square()

    def __call__(self, images: Tensor) -> Tensor:
        """``[N]`` SSIM of images ``[N, 3, H, W]`` in [0, 1] to the originals."""
        mean = self._filter(images)
        variance = self._filter(images.square()) - mean.square()
        covariance = self._filter(images * self.originals) - mean * self.mean
        likeness = (2 * mean * self.mean + 0.01**2) * (2 * covariance + 0.03**2)
        total = (mean.square() + self.mean.square() + 0.01**2) * (variance + self.variance + 0.03**2)
        return (likeness / total).mean((1, 2, 3))

    def _filter(self, images: Tensor) -> Tensor:
        return self.down @ images @ self.across


def _window(side: int, radius: int = 5, sigma: float = 1.5) -> Tensor:
    """``[side, side]``: a Gaussian of 11 pixels around each pixel, mirrored at the edges."""
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-offsets.double().square() / (2 * sigma**2))
    places = (torch.arange(side)[:, None] + offsets).abs()
    places = torch.where(places >= side, 2 * (side - 1) - places, places)
    window = torch.zeros(side, side, dtype=torch.float64)
    return window.scatter_add(1, places, (weights / weights.sum()).expand(side, -1)).float()


SCORES: dict[str, Callable[[], PrivacyScore]] = {"ridge": CrossFittedRidge}


def create_score(name: str) -> PrivacyScore:
    """A score by name.

    Raises:
        AtmError: there is none of that name.
    """
    if name not in SCORES:
        raise unknown("privacy score", name, SCORES)
    return SCORES[name]()
