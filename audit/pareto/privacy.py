"""What a policy leaks, for no more than its accuracy costs: the score that the search minimises.

A score is any object with `PrivacyScore`'s method; `SCORES` names them. It sees one policy's transmission of the images
on which accuracy was measured, so that nothing is sent twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from atm.errors import unknown
from atm.knowledge import Knowledge
from atm.link import Link, Transmission
from atm.threat import ThreatModel
from attacks.base import patch_features
from attacks.linear import Moments
from privacy_metrics.windowed import SsimTo

FOLDS = 4


class PrivacyScore(Protocol):
    """A cheap score of leakage."""

    @property
    def name(self) -> str:
        """On the command line and in reports."""
        ...

    def prepare(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Whatever can be done once for all policies.

        Raises:
            KnowledgeError: the threat model denies what the score needs.
        """
        ...

    def score(self, link: Link, transmission: Transmission, seed: int = 0) -> Tensor:
        """``[N]``: the leakage of each of the prepared images, from what ``link`` transmitted of them."""
        ...


class CrossFittedRidge:
    """SSIM of the closed-form linear attack, fitted to the very images that it is scored on, but never to its own fold.

    The images are divided into folds; those of one fold are rebuilt by the ridge regression of the other folds. So the
    transmission that gave the accuracy also trains and tests the attack, no auxiliary image is sent, and each fold's
    equations are the sums over all images less its own. The one regularisation strength with the least out-of-fold
    error is taken for all folds.
    """

    name: str = "ridge"
    needs: ClassVar[Knowledge] = Knowledge.AUXILIARY | Knowledge.MERGE_MAP

    def prepare(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Keep the targets; divide the images into folds by their order."""
        threat.require(self.needs, f"{self.name} score")
        self.threat = threat
        self.signal = link.signal
        self.pixels = self.signal.to_units(images.to(link.device))
        self.quality = SsimTo(images.to(link.device))
        self.fold = torch.arange(len(images)) % min(FOLDS, len(images))

    def score(self, link: Link, transmission: Transmission, seed: int = 0) -> Tensor:
        """``[N]`` SSIM of the out-of-fold reconstructions."""
        seen = self.threat.observe(transmission, link, seed)
        return self.quality(self.rebuild(patch_features(seen))).cpu()

    def rebuild(self, features: Tensor) -> Tensor:
        """Out-of-fold reconstructions ``[N, C, H, W]`` in [0, 1] from features ``[N, P, f]``."""
        folds = [torch.nonzero(self.fold == k)[:, 0] for k in self.fold.unique()]
        shift = features.mean(0)
        parts = [Moments.of(features[rows], self.pixels[rows], shift) for rows in folds]
        solutions = [Moments.total(parts[:k] + parts[k + 1 :]).solve() for k in range(len(parts))]
        errors = [part.errors(solution) for part, solution in zip(parts, solutions, strict=True)]
        best = int(torch.stack(errors).sum(0).argmin())
        rebuilt = torch.empty_like(self.pixels)
        for rows, solution in zip(folds, solutions, strict=True):
            rebuilt[rows] = solution.at(best)(features[rows])
        return self.signal.clip(self.signal.from_units(rebuilt))


SCORES: dict[str, Callable[[], PrivacyScore]] = {"ridge": CrossFittedRidge}


def create_score(name: str) -> PrivacyScore:
    """A score by name.

    Raises:
        AtmError: there is none of that name.
    """
    if name not in SCORES:
        raise unknown("privacy score", name, SCORES)
    return SCORES[name]()
