"""What a policy leaks, for no more than its accuracy costs: the score that the search minimises.

A score is any object with `PrivacyScore`'s method; `SCORES` names them. It sees one policy's transmission of the images
on which accuracy was measured, so that nothing is sent twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from atm.errors import unknown
from atm.knowledge import Knowledge
from atm.link import Link, Transmission
from atm.signals import Signal
from atm.threat import Observation, ThreatModel
from attacks.base import frame_features, patch_features
from attacks.discriminant import Discriminant, completed
from attacks.linear import Moments
from privacy_metrics.registry import METRICS
from privacy_metrics.windowed import SsimTo

FOLDS = 4
DEVICE = Knowledge.WEIGHTS | Knowledge.POLICY  # what it takes to run it oneself, and so to learn where tokens go


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

    Who is told the merge map, regresses each patch on its token. Who is not, but has the device, first puts the tokens
    of a fold where those of the other folds say that they belong (`attacks.discriminant`). Who has neither regresses
    the whole picture on the tokens' mean and deviation, their number and the class token.
    """

    name: str = "ridge"
    needs: ClassVar[Knowledge] = Knowledge.AUXILIARY

    def prepare(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Keep the targets; divide the images into folds by their order."""
        threat.require(self.needs, f"{self.name} score")
        self.threat = threat
        self.signal = link.signal
        self.pixels = self.signal.to_units(images.to(link.device))
        self.quality = _likeness(self.signal, images.to(link.device))
        fold = torch.arange(len(images)) % min(FOLDS, len(images))
        self.folds = [(fold == k).nonzero()[:, 0] for k in fold.unique()]

    def score(self, link: Link, transmission: Transmission, seed: int = 0) -> Tensor:
        """``[N]`` SSIM of the out-of-fold reconstructions."""
        heard = self.threat.hear(transmission, link, seed)
        seen, knows = self.threat.told(heard, link, seed), self.threat.on(link).knows
        if Knowledge.MERGE_MAP in knows:
            rebuilt = self.rebuild(patch_features(seen))
        elif DEVICE in knows:
            own = self.threat.true_map(heard, link, seed)
            rebuilt = self.rebuild(patch_features(self._placed(seen, own, Knowledge.ORDER in knows)))
        else:
            rebuilt = self.rebuild(set_features(seen)[:, None])
        return self.quality(rebuilt).cpu()

    def rebuild(self, features: Tensor) -> Tensor:
        """Out-of-fold reconstructions ``[N, C, H, W]`` in [0, 1] from features ``[N, P, f]``, or ``[N, 1, f]``."""
        shift, targets = features.mean(0), self.pixels.reshape(len(features), features.shape[1], -1)
        parts = [Moments.of(features[rows], targets[rows], shift) for rows in self.folds]
        solutions = [Moments.total(parts[:k] + parts[k + 1 :]).solve() for k in range(len(parts))]
        errors = [part.errors(solution) for part, solution in zip(parts, solutions, strict=True)]
        best = int(torch.stack(errors).sum(0).argmin())
        rebuilt = torch.empty_like(targets)
        for rows, solution in zip(self.folds, solutions, strict=True):
            rebuilt[rows] = solution.at(best)(features[rows])
        return self.signal.clip(self.signal.from_units(rebuilt.view_as(self.pixels)))

    def _placed(self, seen: Observation, own: Tensor, ordered: bool) -> Observation:
        """With a merge map; that of each fold was found by what the maps ``own`` of the others taught."""
        mapped, found = replace(seen, tokens=replace(seen.tokens, source=own)), own.clone()
        for rows in self.folds:
            others = torch.ones(len(own), dtype=torch.bool)
            others[rows] = False
            known = mapped.select(others.nonzero()[:, 0])
            placer = Discriminant.of(lambda known=known: [known], known, ordered)  # type: ignore[misc]
            placed = completed(seen.select(rows), placer.scores, placer).tokens.source
            assert placed is not None
            found[rows] = placed
        return replace(seen, tokens=replace(seen.tokens, source=found))


def _likeness(signal: Signal, originals: Tensor) -> Callable[[Tensor], Tensor]:
    """How much reconstructions ``[N, C, H, W]`` of some originals leak ``[N]``, by the metric of their kind."""
    if signal.leakage == "ssim":
        return SsimTo(originals)
    return lambda rebuilt: METRICS[signal.leakage].compute(rebuilt.cpu(), originals.cpu())


def set_features(seen: Observation) -> Tensor:
    """``[N, f]``: tokens as a set: their mean, deviation and number, the class token, side information."""
    tokens = seen.tokens
    image, count = tokens.image_of_token, tokens.lengths.to(tokens.values)[:, None]
    empty = tokens.values.new_zeros(len(tokens), tokens.values.shape[1])
    mean = empty.index_add(0, image, tokens.values) / count
    variance = empty.index_add(0, image, (tokens.values - mean[image]).square()) / count
    parts = [mean, variance.sqrt(), count.log(), *frame_features(seen)]
    return torch.cat([*parts, tokens.protected().flatten(1)] if tokens.prefix else parts, 1)


SCORES: dict[str, Callable[[], PrivacyScore]] = {"ridge": CrossFittedRidge}


def create_score(name: str) -> PrivacyScore:
    """A score by name.

    Raises:
        AtmError: there is none of that name.
    """
    if name not in SCORES:
        raise unknown("privacy score", name, SCORES)
    return SCORES[name]()
