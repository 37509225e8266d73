"""What attacks on sentences share: what is known of each word, and how an estimate of its unit becomes a word."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from atm.rows import Rows
from atm.signals import TextSignal
from atm.threat import Observation
from atm.tokens import NOWHERE
from attacks.base import Attack, frame_features
from privacy_metrics.words import NO_WORD

UNSEEN = 0.1  # times that a word counts of which she has seen none
TRUSTS = (8.0, 32.0, 128.0, 512.0, 2048.0)  # in an estimate, against how common words are
AT_ONCE = 1024  # words that are compared with the whole vocabulary at a time


def word_features(seen: Observation) -> Tensor:
    """``[B, P, f]``: for each place the token that its word ended in, whether it arrived, with how many others (the
    logarithm), which place it is, and what the sentence shares: the class token and the frame's own. Needs the map.
    """
    tokens = seen.tokens
    grid = tokens.per_patch()
    assert tokens.source is not None
    arrived = tokens.source != NOWHERE
    together = ((tokens.source[:, :, None] == tokens.source[:, None, :]) & arrived[:, None]).sum(-1).clamp_min(1)
    about = torch.stack([arrived.to(grid), together.to(grid).log()], -1)
    place = torch.eye(grid.shape[1], device=grid.device).expand(len(grid), -1, -1)
    shared = [tokens.protected()[:, 0], *frame_features(seen)] if tokens.prefix else frame_features(seen)
    return torch.cat([grid, about, place, *(each[:, None].expand(-1, grid.shape[1], -1) for each in shared)], -1)


@dataclass(frozen=True)
class Candidates:
    """What may stand in each place of ``B`` sentences.

    Attributes:
        there: ``[B, P]`` bool, whether a word is believed to stand there.
        words: ``[B, P, K]`` int64, the likeliest first; anything where there is none.
        scores: ``[B, P, K]``, the logarithm of each one's probability, of all words.
    """

    there: Tensor
    words: Tensor
    scores: Tensor

    @classmethod
    def cat(cls, parts: Sequence[Candidates]) -> Candidates:
        """Those of several batches."""
        return cls(
            torch.cat([part.there for part in parts]),
            torch.cat([part.words for part in parts]),
            torch.cat([part.scores for part in parts]),
        )

    def select(self, rows: Tensor) -> Candidates:
        """Those of some sentences."""
        return Candidates(self.there[rows], self.words[rows], self.scores[rows])

    def chosen(self, which: Tensor) -> Tensor:
        """``[B, P]`` int64: the sentences of some of them, by their numbers ``[B, P]``."""
        return self.words.gather(-1, which[..., None]).squeeze(-1).masked_fill(~self.there, NO_WORD)

    def likeliest(self) -> Tensor:
        """``[B, P]`` int64: of each place the likeliest."""
        return self.chosen(torch.zeros_like(self.there, dtype=torch.long))


@dataclass(frozen=True)
class Lexicon:
    """Which word an estimated unit stands for: the likeliest one, by how alike it is and how common.

    Attributes:
        table: ``[V, u]``, the unit of every word.
        common: ``[V]``, the logarithm of each word's share of the adversary's own words.
        trust: in the estimate, against how common words are.
    """

    table: Tensor
    common: Tensor
    trust: float = 16.0

    @classmethod
    def of(cls, signal: TextSignal, sentences: Rows) -> Lexicon:
        """From the words of an adversary's own sentences ``[N, L]``."""
        counts = torch.full((len(signal.pieces),), UNSEEN)
        for rows in sentences.batches():
            words = sentences[rows].cpu()
            counts += words[words != NO_WORD].bincount(minlength=len(counts))
        device = sentences.device
        return cls(signal.table.to(device), (counts / counts.sum()).log().to(device))

    def scores(self, units: Tensor, trust: Tensor | float, among: Tensor | None = None) -> Tensor:
        """``[n, V]`` of units ``[n, u]``, or ``[n, m]`` of the words ``[m]`` alone: logarithms but for a constant."""
        table, common = (self.table, self.common) if among is None else (self.table[among], self.common[among])
        return trust * (units @ table.T) + common

    def words(self, units: Tensor, trust: Tensor | float | None = None) -> Tensor:
        """``[n]`` int64: the likeliest word of each of ``[n, u]``."""
        trust = self.trust if trust is None else trust
        found = [self.scores(part, trust).argmax(-1) for part in units.split(AT_ONCE)]
        return torch.cat(found) if found else torch.zeros(0, dtype=torch.long, device=units.device)

    def candidates(self, units: Tensor, there: Tensor, count: int, trust: Tensor | float | None = None) -> Candidates:
        """The likeliest words of units ``[B, P, u]`` where there is one, ``[B, P]``."""
        trust = self.trust if trust is None else trust
        parts = [
            self.scores(part, trust).log_softmax(-1).topk(min(count, len(self.table)))
            for part in units[there].split(AT_ONCE)
        ]
        shape = (*there.shape, min(count, len(self.table)))
        words, scores = torch.zeros(shape, dtype=torch.long, device=units.device), units.new_zeros(shape)
        if parts:
            words[there] = torch.cat([part.indices for part in parts])
            scores[there] = torch.cat([part.values for part in parts])
        return Candidates(there, words, scores)

    def under_each(self, units: Tensor) -> Tensor:
        """``[t, n]`` int64: the likeliest word of each of ``[n, u]`` with each trust of `TRUSTS`."""
        found = []
        for part in units.split(AT_ONCE):
            alike = part @ self.table.T
            found.append(torch.stack([(trust * alike + self.common).argmax(-1) for trust in TRUSTS]))
        return torch.cat(found, 1) if found else torch.zeros(len(TRUSTS), 0, dtype=torch.long, device=units.device)

    def trusting(self, units: Tensor, words: Tensor) -> Lexicon:
        """With the trust of `TRUSTS` that is right about the most of some words ``[n]``."""
        right = (self.under_each(units) == words).sum(1).tolist()
        return replace(self, trust=max(zip(TRUSTS, right, strict=True), key=lambda each: each[1])[0])


class WordAttack(Attack):
    """An attack on sentences that others start from."""

    @abstractmethod
    def candidates(self, seen: Observation, count: int) -> Candidates:
        """The likeliest words of every place, so many."""

    def reconstruct(self, seen: Observation) -> Tensor:
        """The likeliest word wherever one is believed to stand."""
        return self.candidates(seen, 1).likeliest()


def right(sentences: Tensor, words: Tensor) -> int:
    """How many of the words ``[B, P]`` stand in their places in other sentences."""
    return int(((sentences == words) & (words != NO_WORD)).sum())
