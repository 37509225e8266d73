"""Closed-form linear inversion that trusts no order: from all tokens of a picture at once to all of its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from atm.threat import Observation
from attacks.base import Attack, held_out, require
from attacks.linear import Dual
from attacks.oracle import Oracle

MOST_NUMBERS = 2**26  # of all training tokens together: half a gigabyte in double precision


@dataclass
class Whole(Attack):
    """Ridge regression of the picture on the sequence of its tokens, in the dual form.

    It needs no merge map and believes none, so a secret but fixed order of tokens or mixture of them is nothing to it.
    Where the order changes from picture to picture it is weak.

    Attributes:
        most: auxiliary images to learn from; the solution is cubic in them.
    """

    name: ClassVar[str] = "whole"
    order: ClassVar[int] = 1
    QUICK: ClassVar[dict[str, Any]] = {"most": 500}

    most: int = 2000

    def fit(self, oracle: Oracle) -> None:
        """Send the auxiliary images and solve; the regularisation is chosen on the held-out ones."""
        require(self, oracle.threat)
        images, (train, validation) = oracle.images, held_out(len(oracle.images))
        first = oracle.observe(train[:1]).tokens
        self.signal, self.longest = oracle.signal, int(oracle.lengths.max())
        most = min(self.most, max(MOST_NUMBERS // (self.longest * first.values.shape[-1]), 2))
        train, validation = train[:most], validation[:most]
        known, held = (sequence(oracle.observe(rows), self.longest) for rows in (train, validation))
        self.dual = Dual.chosen(known, images[train].flatten(1), held, images[validation].flatten(1))

    def reconstruct(self, seen: Observation) -> Tensor:
        """The linear estimate, clipped to [0, 1]."""
        return self.signal.clip(self.dual(sequence(seen, self.longest)).reshape(-1, *self.signal.shape))


def sequence(seen: Observation, longest: int) -> Tensor:
    """``[B, longest * d + s]``: the tokens one after the other, zeros behind the last; then what is sent beside."""
    padded, _ = seen.tokens.padded()
    padded = padded[:, :longest]
    return torch.cat([pad(padded, (0, 0, 0, longest - padded.shape[1])).flatten(1), seen.side.to(padded)], 1)
