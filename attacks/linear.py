"""Ridge regression from sums: one pass over the data, whose memory does not grow with the number of images.

``P`` positions share one weight matrix and have an intercept each; a single position is ordinary regression. Features
are standardised, and strengths are relative to the mean eigenvalue of their covariance.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

STRENGTHS = tuple(10.0**power for power in range(-7, 2))
CONSTANT = 1e-5  # of a feature's mean square about the shift: with less variance it is rounding
EXACT = 1e-12  # of its mean square: likewise, for float32 has seven digits
ROUNDING = 1e-12  # of an eigenvalue; keeps features that never change from being divided by zero


@dataclass(frozen=True)
class Moments:
    """All that ridge regression needs to know of ``count`` images.

    Attributes:
        count: number of images.
        shift: ``[P, f]``, subtracted from the features before they were multiplied, so that no digits are lost.
        x: ``[P, f]`` float64, their summed features, shifted.
        y: ``[P, t]`` float64, their summed targets.
        xx: ``[f, f]`` float64, summed products over images and positions, shifted.
        xy: ``[f, t]`` float64, likewise.
    """

    count: int
    shift: Tensor
    x: Tensor
    y: Tensor
    xx: Tensor
    xy: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor, shift: Tensor | None = None) -> Moments:
        """Of features ``[N, P, f]`` and targets ``[N, P, t]``; without a shift, their own mean."""
        shift = x.mean(0) if shift is None else shift
        x = x - shift
        a, b = x.flatten(0, 1), y.flatten(0, 1)
        products = ((a.T @ a).double(), (a.T @ b).double())
        return cls(len(x), shift, x.sum(0).double(), y.sum(0).double(), *products)

    @classmethod
    def total(cls, parts: Sequence[Moments]) -> Moments:
        """Of all images together; the parts must have one shift."""
        sums = (sum(getattr(part, name) for part in parts) for name in ("x", "y", "xx", "xy"))
        return cls(sum(part.count for part in parts), parts[0].shift, *sums)

    @classmethod
    def streamed(cls, parts: Iterable[tuple[Tensor, Tensor]]) -> Moments:
        """Of features and targets that come in parts; the first one gives the shift."""
        found: Moments | None = None
        for x, y in parts:
            more = cls.of(x, y, None if found is None else found.shift)
            found = more if found is None else cls.total([found, more])
        if found is None:
            raise ValueError("there are no parts, expected at least one")
        return found

    @cached_property
    def mean_x(self) -> Tensor:
        """``[P, f]``, shifted."""
        return self.x / self.count

    @cached_property
    def mean_y(self) -> Tensor:
        """``[P, t]``."""
        return self.y / self.count

    def solve(self) -> Solution:
        """Ridge regression with each of `STRENGTHS`."""
        rows = self.count * len(self.x)
        covariance = (self.xx - self.x.T @ self.mean_x) / rows
        variance = covariance.diagonal().clamp_min(0)
        level = (self.shift.double() + self.mean_x).square().mean(0) + variance
        # What changes by rounding alone has no weight, lest it is given one where it does change.
        changes = variance > torch.maximum(CONSTANT * self.xx.diagonal() / rows, EXACT * level)
        scale = variance.where(changes, 1.0).sqrt()
        known = covariance * (changes[:, None] & changes)
        eigenvalues, basis = torch.linalg.eigh(known / scale[:, None] / scale)
        strengths = torch.tensor(STRENGTHS, dtype=torch.float64, device=basis.device)[:, None] * eigenvalues.mean()
        together = (self.xy - self.x.T @ self.mean_y) * changes[:, None]
        projected = basis.T @ (together / rows / scale[:, None])
        damping = 1 / (eigenvalues.clamp_min(0) + strengths + ROUNDING)
        return Solution(self.shift + self.mean_x, self.mean_y, scale, basis, damping, projected)

    def errors(self, solution: Solution) -> Tensor:
        """``[strengths]``: squared error on these images, up to a constant; no image is rebuilt for it."""
        n, gap, scale = self.count, self.shift - solution.mean_x, solution.scale
        mean_y = solution.mean_y
        xx = self.xx + self.x.T @ gap + gap.T @ self.x + n * gap.T @ gap
        xy = self.xy + gap.T @ self.y - (self.x + n * gap).T @ mean_y
        xx, xy = xx / scale[:, None] / scale, xy / scale[:, None]
        basis, damping, projected = solution.basis, solution.damping, solution.projected
        squares = (basis.T @ xx @ basis) * (projected @ projected.T)
        cross = ((basis.T @ xy) * projected).sum(1)
        return ((damping @ squares) * damping).sum(1) - 2 * damping @ cross


@dataclass(frozen=True)
class Solution:
    """Ridge regressions that differ in strength alone.

    Attributes:
        mean_x: ``[P, f]`` float64.
        mean_y: ``[P, t]`` float64.
        scale: ``[f]`` float64, deviations of the features.
        basis: ``[f, f]`` float64.
        damping: ``[strengths, f]`` float64; weights are ``basis @ (damping[k][:, None] * projected)``.
        projected: ``[f, t]`` float64.
    """

    mean_x: Tensor
    mean_y: Tensor
    scale: Tensor
    basis: Tensor
    damping: Tensor
    projected: Tensor

    def at(self, strength: int) -> Linear:
        """The regression with one of `STRENGTHS`, by its number."""
        weights = self.basis @ (self.damping[strength][:, None] * self.projected)
        return Linear(self.mean_x.float(), self.mean_y.float(), self.scale.float(), weights.float())


@dataclass(frozen=True)
class Linear:
    """A linear map of standardised features.

    Attributes:
        mean_x: ``[P, f]``.
        mean_y: ``[P, t]``.
        scale: ``[f]``.
        weights: ``[f, t]``.
    """

    mean_x: Tensor
    mean_y: Tensor
    scale: Tensor
    weights: Tensor

    def standard(self, x: Tensor) -> Tensor:
        """``[N, P, f]``, centred and scaled."""
        return (x - self.mean_x) / self.scale

    def __call__(self, x: Tensor) -> Tensor:
        """``[N, P, f]`` -> ``[N, P, t]``."""
        return self.standard(x) @ self.weights + self.mean_y


def chosen(train: Moments, held: Moments) -> Linear:
    """The regression on some images whose strength is best on others."""
    solution = train.solve()
    return solution.at(int(held.errors(solution).argmin()))


def crossfitted(parts: Sequence[tuple[Tensor, Tensor]]) -> list[Linear]:
    """For each part of some images the regression on all others, with the one strength that errs the least out of part.

    Args:
        parts: features ``[n, P, f]`` and targets ``[n, P, t]`` of each.
    """
    shift = torch.cat([x for x, _ in parts]).mean(0)
    sums = [Moments.of(x, y, shift) for x, y in parts]
    solutions = [Moments.total(sums[:k] + sums[k + 1 :]).solve() for k in range(len(sums))]
    errors = [part.errors(solution) for part, solution in zip(sums, solutions, strict=True)]
    best = int(torch.stack(errors).sum(0).argmin())
    return [solution.at(best) for solution in solutions]


@dataclass(frozen=True)
class Dual:
    """Ridge regression with more features than images, through the products of images with each other.

    Attributes:
        known: ``[n, f]``, centred features of the images that it was solved on.
        centre: ``[f]``.
        weights: ``[n, t]``.
        mean_y: ``[t]``.
    """

    known: Tensor
    centre: Tensor
    weights: Tensor
    mean_y: Tensor

    @classmethod
    def chosen(cls, x: Tensor, y: Tensor, held_x: Tensor, held_y: Tensor) -> Dual:
        """Of features ``[n, f]`` and targets ``[n, t]``, with the strength that is best on held-out ones."""
        centre, mean_y = x.mean(0), y.mean(0)
        known, wanted = x - centre, y - mean_y
        eigenvalues, basis = torch.linalg.eigh(known.double() @ known.T.double())
        kept = eigenvalues > max(1e-9 * float(eigenvalues[-1]), ROUNDING)  # the rest is rounding
        eigenvalues, basis = eigenvalues[kept], basis[:, kept]
        projected, held = basis.T @ wanted.double(), (held_x - centre) @ known.T
        best, weights = float("inf"), torch.zeros_like(wanted)
        for strength in STRENGTHS:
            damped = eigenvalues + strength * eigenvalues.sum() / len(x)
            tried = (basis @ (projected / damped[:, None])).to(y)
            loss = float((held @ tried + mean_y - held_y).square().mean())
            if loss < best:
                best, weights = loss, tried
        return cls(known, centre, weights, mean_y)

    def __call__(self, x: Tensor) -> Tensor:
        """``[N, f]`` -> ``[N, t]``."""
        return (x - self.centre) @ self.known.T @ self.weights + self.mean_y
