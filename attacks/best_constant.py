"""A blind baseline: the one answer to everything that is the most like the adversary's held-out pictures."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from atm.threat import Observation
from attacks.base import Attack, Method, held_out, require
from attacks.oracle import Oracle
from privacy_metrics.windowed import SsimTo

CANDIDATES, JUDGES = 24, 32  # auxiliary pictures that are tried, and held-out ones that they are compared with
MOST_NUMBERS = 2**24  # of all pictures together of which the median is taken
CONTRASTS = (0.0, 0.5, 1.0, 1.5, 2.0)  # of the mean picture: 0 is its mean colour


class BestConstant(Attack):
    """Answers every observation with the same picture, the best that can be had without reading a token.

    Tried are the mean picture at several contrasts, the median picture and some auxiliary pictures; kept is the one of
    the highest mean SSIM to held-out auxiliary pictures. The mean picture has the least squared error, but SSIM prefers
    another contrast, so that a plain picture may look much like this answer.
    """

    name: ClassVar[str] = "best_constant"
    blind: ClassVar[bool] = True

    def fit(self, oracle: Oracle) -> None:
        """Choose the answer, once for all policies: it reads no token."""
        require(self, oracle.threat)
        self.answer = oracle.shared(_Constant).answer

    def reconstruct(self, seen: Observation) -> Tensor:
        """The same picture for every image."""
        return self.answer.expand(len(seen), -1, -1, -1)


class _Constant(Method):
    """The answer."""

    name: ClassVar[str] = "constant"

    def fit(self, oracle: Oracle) -> None:
        """Try the candidates."""
        images = oracle.images
        train, validation = held_out(len(images))
        judges = images[validation[:JUDGES]]
        likeness = SsimTo(judges)
        own, mean = images[train[: max(MOST_NUMBERS // images.shape[1:].numel(), 2)]], images.mean(0)
        colour = mean.mean((-2, -1), keepdim=True)
        made = [(colour + contrast * (mean - colour)).clamp(0, 1) for contrast in CONTRASTS]
        tried = torch.cat([torch.stack([*made, own.median(0).values]), own[:CANDIDATES]])
        scores = [float(likeness(answer.expand_as(judges)).mean()) for answer in tried]
        self.answer = tried[scores.index(max(scores))]
