"""Closed-form linear inversion: from each patch's token and the class token to that patch's pixels."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from atm.knowledge import Knowledge
from atm.threat import Observation, ThreatModel
from attacks.base import ALIGNABLE, Attack, held_out, patch_features, require
from attacks.linear import Linear, Moments, chosen
from attacks.oracle import Oracle


class Ridge(Attack):
    """Ridge regression of pixels on tokens, with an intercept for each position.

    One weight matrix serves all positions, so a few hundred auxiliary images are enough; it is solved exactly, in
    seconds, and has no schedule that could be too short. Where the merge map is hidden, the one that
    `attacks.alignment` recovers takes its place, in training too.
    """

    name: ClassVar[str] = "ridge"
    needs_one_of: ClassVar[tuple[Knowledge, ...]] = ALIGNABLE

    @classmethod
    def share(cls, threat: ThreatModel) -> float:
        """Much where the map is hidden: it comes first, and all that need a map use the one that it has found."""
        return 1 if Knowledge.MERGE_MAP in threat.knows else 4

    def fit(self, oracle: Oracle) -> None:
        """Send the auxiliary images and solve; the regularisation is chosen on the held-out ones."""
        require(self, oracle.threat)
        self.complete = oracle.complete
        self.signal = oracle.signal
        self.linear = regression(oracle)

    def reconstruct(self, seen: Observation) -> Tensor:
        """The linear estimate, clipped to [0, 1]."""
        return self.signal.clip(self.estimate(patch_features(self.complete(seen))))

    def estimate(self, features: Tensor) -> Tensor:
        """The unclipped estimate ``[B, C, H, W]`` from `attacks.base.patch_features`."""
        return self.signal.from_units(self.linear(features))


def regression(oracle: Oracle) -> Linear:
    """From the features of what she sees of her images, with a merge map, to their patches; the last tenth held out."""
    images, signal = oracle.images, oracle.signal
    parts = [
        Moments.streamed(
            (patch_features(oracle.mapped(part)), signal.to_units(images[part])) for part in oracle.batches(rows)
        )
        for rows in held_out(len(images))
    ]
    return chosen(parts[0], parts[1])
