"""What a policy leaks, for no more than its accuracy costs: the score that the search minimises.

A score is any object with `PrivacyScore`'s method; `SCORES` names them, each with one for every kind of signal. It
sees one policy's transmission of the images on which accuracy was measured, so that nothing is sent twice.
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
from atm.rows import Held
from atm.signals import Signal, TextSignal
from atm.threat import Observation, ThreatModel
from atm.tokens import NOWHERE
from attacks.base import frame_features, patch_features
from attacks.discriminant import Discriminant, completed
from attacks.linear import crossfitted
from attacks.wordwise import Lexicon, word_features
from privacy_metrics.registry import METRICS
from privacy_metrics.windowed import SsimTo
from privacy_metrics.words import NO_WORD

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
    """Leakage by the closed-form linear attack on arrays, fitted to the very images that it is scored on, but never to
    its own fold.

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
        """``[N]`` leakage of the out-of-fold reconstructions."""
        heard = self.threat.hear(transmission, link, seed)
        seen, knows = self.threat.told(heard, link, seed), self.threat.on(link).knows
        if Knowledge.MERGE_MAP not in knows and DEVICE in knows:
            seen = self._placed(seen, self.threat.true_map(heard, link, seed), Knowledge.ORDER in knows)
        return self.quality(self.reconstruct(seen)).cpu()

    def reconstruct(self, seen: Observation) -> Tensor:
        """Out-of-fold reconstructions ``[N, ...]``, patch by patch where there is a merge map."""
        return self.rebuild(set_features(seen)[:, None] if seen.tokens.source is None else patch_features(seen))

    def rebuild(self, features: Tensor) -> Tensor:
        """Out-of-fold reconstructions ``[N, C, H, W]`` in [0, 1] from features ``[N, P, f]``, or ``[N, 1, f]``."""
        rebuilt = self._estimated(features, self.pixels.reshape(len(features), features.shape[1], -1))
        return self.signal.clip(self.signal.from_units(rebuilt.view_as(self.pixels)))

    def _estimated(self, features: Tensor, targets: Tensor) -> Tensor:
        """Out-of-fold estimates of targets ``[N, P, t]`` from features ``[N, P, f]``."""
        estimated = torch.empty_like(targets)
        fitted = crossfitted([(features[rows], targets[rows]) for rows in self.folds])
        for rows, linear in zip(self.folds, fitted, strict=True):
            estimated[rows] = linear(features[rows])
        return estimated

    def _placed(self, seen: Observation, own: Tensor, ordered: bool) -> Observation:
        """With a merge map; that of each fold was found by what the maps ``own`` of the others taught."""
        mapped, found = replace(seen, tokens=replace(seen.tokens, source=own)), own.clone()
        for rows in self.folds:
            others = torch.ones(len(own), dtype=torch.bool)
            others[rows] = False
            known = mapped.select(others.nonzero()[:, 0])
            fills = self.signal.fills
            placer = Discriminant.of(lambda known=known: [known], known, ordered, fills)  # type: ignore[misc]
            placed = completed(seen.select(rows), placer.scores, placer).tokens.source
            assert placed is not None
            found[rows] = placed
        return replace(seen, tokens=replace(seen.tokens, source=found))


class CrossFittedWordRidge(CrossFittedRidge):
    """The same of sentences: ROUGE-L of `attacks.word_ridge`, each fold's words told by the sentences of the others.

    Which word an estimate stands for is weighed against how common the words of the other folds are, with the one trust
    in estimates that is right about the most words of all folds. Who has neither map nor device regresses each place's
    word, and whether there is one, on the tokens as a set.
    """

    def prepare(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Keep the words, too."""
        super().prepare(link, threat, images)
        self.sentences = images.to(link.device)

    def reconstruct(self, seen: Observation) -> Tensor:
        """Out-of-fold reconstructions ``[N, L]``."""
        if seen.tokens.source is not None:
            there = seen.tokens.source != NOWHERE
            return self._told(self._by_word(word_features(seen), there), there)
        known = torch.cat([self.pixels, (self.sentences != NO_WORD)[..., None].to(self.pixels)], -1)
        found = self._estimated(set_features(seen)[:, None], known.flatten(1)[:, None]).view_as(known)
        return self._told(found[..., :-1], found[..., -1] > 0.5)

    def _by_word(self, features: Tensor, there: Tensor) -> Tensor:
        """Out-of-fold units ``[N, L, u]`` of the words that are believed to be there, zeros elsewhere."""
        taught, units = there & (self.sentences != NO_WORD), torch.zeros_like(self.pixels)
        parts = [
            (features[rows][taught[rows]][:, None], self.pixels[rows][taught[rows]][:, None]) for rows in self.folds
        ]
        for rows, linear in zip(self.folds, crossfitted(parts), strict=True):
            units[rows] = units[rows].masked_scatter(
                there[rows][..., None], linear(features[rows][there[rows]][:, None])
            )
        return units

    def _told(self, units: Tensor, there: Tensor) -> Tensor:
        """``[N, L]``: the words of units where there are some."""
        assert isinstance(self.signal, TextSignal)
        found = list[tuple[Tensor, Tensor]]()
        for rows in self.folds:
            others = torch.ones(len(units), dtype=torch.bool)
            others[rows] = False
            lexicon = Lexicon.of(self.signal, Held(self.sentences[others]))
            found.append((rows, lexicon.under_each(units[rows][there[rows]])))
        right = torch.stack([(words == self.sentences[rows][there[rows]]).sum(1) for rows, words in found]).sum(0)
        sentences, best = torch.full_like(self.sentences, NO_WORD), int(right.argmax())
        for rows, words in found:
            sentences[rows] = sentences[rows].masked_scatter(there[rows], words[best])
        return sentences


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


def _ridge(signal: Signal) -> PrivacyScore:
    return CrossFittedWordRidge() if isinstance(signal, TextSignal) else CrossFittedRidge()


SCORES: dict[str, Callable[[Signal], PrivacyScore]] = {"ridge": _ridge}


def create_score(name: str) -> Callable[[Signal], PrivacyScore]:
    """What makes the score of some name for a kind of signal.

    Raises:
        AtmError: there is none of that name.
    """
    if name not in SCORES:
        raise unknown("privacy score", name, SCORES)
    return SCORES[name]
