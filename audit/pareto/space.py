"""Where the search moves: from the unit cube to thresholds, evenly in what they do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atm import matching, merging
from atm.encoder import Encoder
from atm.policy import MergePolicy

KNOTS = 33
LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)  # parts of the tokens that all layers merge while similarities are measured
FINE = np.linspace(0, 1, 257)  # quantiles that stand for all similarities, so that each level has the same weight
NEAR = 0.01  # policies whose coordinates all differ by less than this are near-duplicates


@dataclass(frozen=True)
class Space:
    """One monotone map per layer of the device: coordinate 0 is threshold 1, which merges nothing; 1 is the lowest.

    In between, equal steps merge equal fractions of the layer's tokens, on average over how much the layers before it
    merge. Cosines of values crowd together, elsewhere in every layer, so that steps in the thresholds themselves mostly
    do nothing or everything; and what is left after much merging is less alike, so that the unmerged network knows
    nothing of the thresholds that matter there.

    Attributes:
        knots: thresholds ``[layers][KNOTS]``, falling from 1 to the lowest.
        behind: layers behind the exit, in which nothing merges whatever their thresholds; these are 1.
    """

    knots: tuple[tuple[float, ...], ...]
    behind: int = 0

    @classmethod
    def plain(cls, depth: int, lowest: float) -> Space:
        """Even in the thresholds themselves."""
        return cls((tuple(np.linspace(1.0, lowest, KNOTS).tolist()),) * depth)

    @classmethod
    @torch.no_grad()
    def of(cls, encoder: Encoder, images: Tensor, lowest: float, rules: MergePolicy | None = None) -> Space:
        """Even in the fraction that merges, measured on images ``[N, C, H, W]``; ``rules``: all but the thresholds."""
        policy = rules or MergePolicy.uniform(1.0, encoder.depth)
        seen: list[list[np.ndarray]] = [[] for _ in range(policy.device_layers)]
        for level in LEVELS:
            tokens = encoder.start(images.to(encoder.device))
            for layer in range(policy.device_layers):
                tokens, projected = encoder.mix(tokens, policy, layer)
                metric = matching.metric(policy, layer, tokens, projected)
                matches = merging.match(tokens, metric, policy.order, policy.similarity)
                if len(matches.similarity):
                    own = np.quantile(matches.similarity.cpu().double().numpy(), FINE)
                    seen[layer].append(own)
                    most = merging.above(matches, float(np.quantile(own, 1 - level)))
                    tokens = merging.merge(tokens, most, policy.average, policy.order)
                tokens = encoder.transform(tokens, layer)
        knots = [_falling(np.concatenate(own), lowest) for own in seen]
        return cls(tuple(knots), encoder.depth - policy.device_layers)

    @property
    def depth(self) -> int:
        """Number of layers that are searched."""
        return len(self.knots)

    def thresholds(self, unit: Sequence[float]) -> tuple[float, ...]:
        """Of a point in the unit cube, for every layer of the victim; four decimals."""
        grid = np.linspace(0, 1, KNOTS)
        searched = (round(float(np.interp(u, grid, own)), 4) for u, own in zip(unit, self.knots, strict=True))
        return (*searched, *(1.0,) * self.behind)

    def unit(self, thresholds: Sequence[float]) -> tuple[float, ...]:
        """The inverse of `thresholds`."""
        grid = np.linspace(1, 0, KNOTS)
        return tuple(
            float(np.interp(t, own[::-1], grid)) for t, own in zip(thresholds[: self.depth], self.knots, strict=True)
        )


def _falling(similarity: np.ndarray, lowest: float) -> tuple[float, ...]:
    """Quantiles as knots, made strictly falling so that the map can be inverted."""
    quantiles = np.quantile(similarity, np.linspace(1, 0, KNOTS)).clip(lowest, 1.0)
    quantiles[0], quantiles[-1] = 1.0, lowest
    return tuple((0.98 * quantiles + 0.02 * np.linspace(1.0, lowest, KNOTS)).tolist())
