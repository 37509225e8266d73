"""Closed-form linear inversion: from each patch's token and the class token to that patch's pixels."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from atm.link import Link
from atm.threat import Knowledge, Observation, ThreatModel
from attacks.alignment import ALIGNABLE, aligned
from attacks.base import from_patches, held_out, patch_features, require, to_patches

# Relative to the mean eigenvalue of the features' covariance; the held-out images choose among them.
STRENGTHS = tuple(10.0**power for power in range(-7, 1))


class Ridge:
    """Ridge regression of pixels on tokens, with an intercept for each position.

    One weight matrix serves all positions, so a few hundred auxiliary images are enough; it is solved exactly, in
    seconds, and has no schedule that could be too short.
    """

    name: ClassVar[str] = "ridge"
    needs: ClassVar[Knowledge] = Knowledge.AUXILIARY
    needs_one_of: ClassVar[tuple[Knowledge, ...]] = ALIGNABLE

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Send the auxiliary images and solve; the regularisation is chosen on the held-out ones.

        Where the merge map is hidden, the one that `attacks.alignment` recovers takes its place, in training too.
        """
        require(self, threat)
        self.grid = link.encoder.patch_grid
        self.align = aligned(link, threat, images)
        self.solve(patch_features(self.align(threat.tap_images(link, images))), images)

    def solve(self, features: Tensor, images: Tensor) -> None:
        """Solve from features ``[N, P, f]`` to images ``[N, 3, H, W]``, of which the last tenth is held out."""
        pixels = to_patches(images, self.grid)
        train, validation = held_out(len(images))
        self._centre(features[train], pixels[train])

        x, y = self._standard(features[train]).flatten(0, 1), (pixels[train] - self.intercept).flatten(0, 1)
        eigenvalues, basis = torch.linalg.eigh((x.T @ x).double() / len(x))
        projected = basis.T @ ((x.T @ y).double() / len(x))
        held_x, held_y = self._standard(features[validation]), pixels[validation] - self.intercept
        best = float("inf")
        for strength in STRENGTHS:
            # The last term keeps tokens that never change from being divided by zero.
            damped = eigenvalues.clamp_min(0) + strength * eigenvalues.mean() + 1e-12
            weights = (basis @ (projected / damped[:, None])).float()
            loss = float((held_x @ weights - held_y).square().mean())
            if loss < best:
                best, self.weights, self.strength = loss, weights, strength

    def reconstruct(self, seen: Observation) -> Tensor:
        """The linear estimate, clipped to [0, 1]."""
        return self.linear(patch_features(self.align(seen))).clamp(0, 1)

    def linear(self, features: Tensor) -> Tensor:
        """The unclipped estimate ``[B, 3, H, W]`` from `attacks.base.patch_features`."""
        return from_patches(self._standard(features) @ self.weights + self.intercept, self.grid)

    def _centre(self, features: Tensor, pixels: Tensor) -> None:
        self.mean = features.mean(0)  # for each position: most of a token's mean is its position embedding
        self.scale = (features - self.mean).flatten(0, 1).std(0).clamp_min(1e-6)
        self.intercept = pixels.mean(0)

    def _standard(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.scale
