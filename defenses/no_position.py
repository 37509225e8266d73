"""Removal of what a token tells about its place."""

from __future__ import annotations

import torch
from torch import Tensor

from atm.defence import Defence
from atm.errors import AtmError
from atm.link import Link
from atm.tokens import NOWHERE, TokenBatch
from defenses.base import calibration_tokens, fitted_or_fail


class NoPosition(Defence):
    """Takes from each token the mean token of its place, so that its values tell less of where it stood.

    A merged token loses the mean over its patches' places. It is the first-order part of the position that goes: a
    network may still read the place from higher orders. The order itself is hidden by ``shuffle``.
    """

    name = "no-position"

    def __init__(self) -> None:
        self.offset: Tensor | None = None

    def fit(self, link: Link, images: Tensor) -> None:
        """Mean token of every place, less their common mean: ``[P, d]``."""
        tokens = calibration_tokens(link, images)
        arrived = (self._map(tokens) != NOWHERE).sum(0)[:, None]
        mean = tokens.per_patch().sum(0) / arrived.clamp_min(1)
        common = mean.sum(0) / (arrived > 0).sum()
        self.offset = (mean - common).masked_fill(arrived == 0, 0.0)  # a place that no sentence reached adds nothing

    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """The tokens less what their places add on average."""
        fitted_or_fail(self.offset, self.name)
        assert self.offset is not None
        source = self._map(tokens)
        arrived = source != NOWHERE
        rows = (source + tokens.offsets.to(source.device)[:, None])[arrived]
        offsets = self.offset.expand(len(tokens), -1, -1)[arrived]
        total = torch.zeros_like(tokens.values).index_add(0, rows, offsets)
        patches = torch.bincount(rows, minlength=len(tokens.values)).clamp_min(1)
        return tokens.with_values(tokens.values - total / patches[:, None])

    def _map(self, tokens: TokenBatch) -> Tensor:
        if tokens.source is None:
            raise AtmError("defence 'no-position' needs to know which patches each token stands for")
        return tokens.source
