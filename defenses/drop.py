"""Random dropping of tokens: the plainest way to send fewer."""

from __future__ import annotations

import torch

from atm.defence import Defence
from atm.tokens import TokenBatch
from defenses.base import check, free_rows, random, with_protected


class Drop(Defence):
    """Drops a random part of each image's free tokens; ``drop:0.5`` half of them, but never the last one.

    What is left keeps its order. Protected tokens stay. Patches whose token is dropped end nowhere
    (`atm.tokens.NOWHERE`); who knows the merge map also knows which patches are missing.
    """

    name = "drop"

    def __init__(self, fraction: float) -> None:
        check(0 <= fraction < 1, self.name, fraction, "the dropped part is at least 0 and below 1")
        self.fraction = fraction

    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """The tokens that are left."""
        kept = []
        for rows in free_rows(tokens):
            count = min(len(rows), max(1, round(len(rows) * (1 - self.fraction))))
            order = random(rows.shape, tokens.values, generator, normal=False).argsort().cpu()
            kept.append(rows[order[:count].sort().values])
        return with_protected(tokens, kept)

    def expected(self, tokens: TokenBatch) -> TokenBatch:
        """The tokens: which of them were dropped is seen from the merge map, not guessed."""
        return tokens
