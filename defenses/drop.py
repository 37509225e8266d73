"""Random dropping of tokens: the plainest way to send fewer."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from atm.defence import Defence
from atm.tokens import TokenBatch
from defenses.base import check


class Drop(Defence):
    """Drops a random part of each image's free tokens; ``drop:0.5`` half of them, but never all that are no padding.

    What is left keeps its order. Protected tokens stay. Patches whose token is dropped end nowhere
    (`atm.tokens.NOWHERE`); who knows the merge map also knows which patches are missing.
    """

    name = "drop"
    drops: ClassVar[bool] = True

    def __init__(self, fraction: float) -> None:
        check(0 <= fraction < 1, self.name, fraction, "the dropped part is at least 0 and below 1")
        self.fraction = fraction

    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """The tokens that are left."""
        free = tokens.lengths - tokens.prefix
        left = (free * (1 - self.fraction)).round().long().clamp_min(1).minimum(free)
        image = tokens.image_of_token.cpu()
        keys = torch.rand(len(image), generator=generator)
        kept = tokens.ordered_by(_one_first(tokens, keys))[tokens.rank < tokens.prefix + left[image]]
        mask = torch.zeros(len(image), dtype=torch.bool).index_fill(0, kept, True)
        return tokens.only(mask.to(tokens.values.device))

    def expected(self, tokens: TokenBatch) -> TokenBatch:
        """The tokens: which of them were dropped is seen from the merge map, not guessed."""
        return tokens


def _one_first(tokens: TokenBatch, keys: Tensor) -> Tensor:
    """Keys ``[T]`` of which the least of each image is that of a free token which is no padding."""
    image, free = tokens.image_of_token.cpu(), tokens.rank >= tokens.prefix
    if tokens.padding is not None:
        free &= ~tokens.padding.cpu()
    least = torch.full((len(tokens),), torch.inf).scatter_reduce(0, image[free], keys[free], "amin")
    return torch.where(free & (keys == least[image]), -1.0, keys)
