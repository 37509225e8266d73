"""Padding of the number of tokens, which alone tells how much an image had to merge."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch

from atm.defence import Defence
from atm.tokens import TokenBatch
from defenses.base import check

LARGEST = 4096  # tokens: an image that takes more is not sent by radio


class Pad(Defence):
    """Fills each image up to the next multiple of a bucket with copies of its own tokens; ``pad:16`` to 16, 32, ...

    Padding stands last, has size 0 and is thrown away by the server, so the answer stays. It costs bandwidth. It hides
    the count from who hears the air and does not know the sizes; who knows the sizes sees which tokens are padding, and
    that holds for the server. Copies look like tokens, so only two equal ones give them away on a noiseless channel.
    """

    name = "pad"
    pads: ClassVar[bool] = True

    def __init__(self, bucket: int) -> None:
        fits = isinstance(bucket, int) and 1 <= bucket <= LARGEST
        check(fits, self.name, bucket, f"give a bucket of 1 to {LARGEST} tokens")
        self.bucket = bucket

    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """The tokens and behind them the padding."""
        free = tokens.lengths - tokens.prefix
        missing = torch.where(free > 0, -tokens.lengths % self.bucket, 0)
        image = torch.repeat_interleave(torch.arange(len(tokens)), missing)
        drawn = torch.rand(len(image), generator=generator, dtype=torch.float64)
        copied = (tokens.offsets + tokens.prefix)[image] + (drawn * free[image]).long()

        own = len(tokens.values)
        order = torch.argsort(torch.cat([tokens.image_of_token.cpu(), image]), stable=True)
        rows = torch.cat([torch.arange(own), copied])[order].to(tokens.values.device)
        padded = tokens.rearranged(rows, tokens.lengths + missing)
        sizes = padded.values.new_ones(len(rows)) if padded.sizes is None else padded.sizes
        return replace(padded, sizes=sizes * (order < own).to(sizes))

    def expected(self, tokens: TokenBatch) -> TokenBatch:
        """The tokens: padding tells nothing."""
        return tokens
