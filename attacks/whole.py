"""Closed-form linear inversion that trusts no order: from all tokens of a picture at once to all of its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from atm.link import Link
from atm.threat import Knowledge, Observation, ThreatModel
from attacks.base import held_out
from attacks.ridge import STRENGTHS

MOST_NUMBERS = 2**26  # of all training tokens together: half a gigabyte in double precision


@dataclass
class Whole:
    """Ridge regression of the picture on the sequence of its tokens, in the dual form.

    It needs no merge map and believes none, so a secret but fixed order of tokens or mixture of them is nothing to it.
    Where the order changes from picture to picture it is weak.

    Attributes:
        most: auxiliary images to learn from; the solution is cubic in them.
    """

    name: ClassVar[str] = "whole"
    needs: ClassVar[Knowledge] = Knowledge.AUXILIARY
    QUICK: ClassVar[dict[str, Any]] = {"most": 500}

    most: int = 2000

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Send the auxiliary images and solve; the regularisation is chosen on the held-out ones."""
        threat.require(self.needs, self.name)
        seen = threat.tap_images(link, images)
        self.longest = max(seen.tokens.counts)
        train, validation = held_out(len(images))
        most = min(self.most, max(MOST_NUMBERS // (self.longest * seen.tokens.values.shape[-1]), 2))
        train = train[:most]
        features = self._sequence(seen)
        self.mean, self.centre, self.shape = images[train].mean(0), features[train].mean(0), images.shape[1:]
        self.known = features[train] - self.centre
        wanted = (images[train] - self.mean).flatten(1)
        eigenvalues, basis = torch.linalg.eigh(self.known.double() @ self.known.T.double())
        kept = eigenvalues > max(1e-9 * float(eigenvalues[-1]), 1e-12)  # the rest is rounding
        eigenvalues, basis = eigenvalues[kept], basis[:, kept]
        projected = basis.T @ wanted.double()
        held = (features[validation] - self.centre) @ self.known.T
        best = float("inf")
        for strength in STRENGTHS:
            damped = eigenvalues + strength * eigenvalues.sum() / len(train)
            weights = (basis @ (projected / damped[:, None])).float()
            loss = float((held @ weights + self.mean.flatten() - images[validation].flatten(1)).square().mean())
            if loss < best:
                best, self.weights = loss, weights

    def reconstruct(self, seen: Observation) -> Tensor:
        """The linear estimate, clipped to [0, 1]."""
        pixels = (self._sequence(seen) - self.centre) @ self.known.T @ self.weights
        return (pixels.reshape(-1, *self.shape) + self.mean).clamp(0, 1)

    def _sequence(self, seen: Observation) -> Tensor:
        """``[B, longest * d]``: the tokens one after the other, zeros behind the last."""
        padded, _ = seen.tokens.padded()
        padded = padded[:, : self.longest]
        return pad(padded, (0, 0, 0, self.longest - padded.shape[1])).flatten(1)
