"""Closed-form inversion of sentences: from the token of each word to its embedding, and to the nearest word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from atm.knowledge import Knowledge
from atm.signals import TextSignal
from atm.threat import Observation, ThreatModel
from atm.tokens import NOWHERE
from attacks.base import ALIGNABLE, held_out, require
from attacks.linear import Moments, chosen
from attacks.oracle import Oracle
from attacks.wordwise import Candidates, Lexicon, WordAttack, word_features
from privacy_metrics.words import NO_WORD

MOST_JUDGES = 4000  # held-out words by which the trust in estimates is chosen


class WordRidge(WordAttack):
    """Ridge regression of every word's embedding on the token that it ended in; then the likeliest word.

    One weight matrix serves all places, which add an intercept each. Which word an estimate stands for is decided by
    how alike its embedding is and how common it is, weighed on held-out sentences. Words of one token get the same
    estimate but for their place. Where the merge map is hidden, the one that `attacks.alignment` recovers takes its
    place, in training too.
    """

    name: ClassVar[str] = "word_ridge"
    signals: ClassVar[tuple[str, ...]] = ("text",)
    needs_one_of: ClassVar[tuple[Knowledge, ...]] = ALIGNABLE

    @classmethod
    def share(cls, threat: ThreatModel) -> float:
        """Much where the map is hidden, as of `attacks.ridge`."""
        return 1 if Knowledge.MERGE_MAP in threat.knows else 4

    def fit(self, oracle: Oracle) -> None:
        """Send the auxiliary sentences and solve; regularisation and trust are chosen on the held-out ones."""
        require(self, oracle.threat)
        assert isinstance(oracle.signal, TextSignal)
        self.signal, self.complete = oracle.signal, oracle.complete
        train, held = held_out(len(oracle.images))
        table = self.signal.table.to(oracle.device)

        def moments(rows: Tensor) -> Moments:
            return Moments.streamed((x[:, None], table[words][:, None]) for x, words in _pairs(oracle, rows))

        self.linear = chosen(moments(train), moments(held))
        judged = list(_pairs(oracle, held))
        x, words = (torch.cat(each)[:MOST_JUDGES] for each in zip(*judged, strict=True))
        self.lexicon = Lexicon.of(self.signal, oracle.images).trusting(self.linear(x[:, None])[:, 0], words)

    def candidates(self, seen: Observation, count: int) -> Candidates:
        """The likeliest words where one ended in a token that arrived, none elsewhere."""
        seen = self.complete(seen)
        assert seen.tokens.source is not None
        return self.lexicon.candidates(self.estimate(word_features(seen)), seen.tokens.source != NOWHERE, count)

    def estimate(self, features: Tensor) -> Tensor:
        """``[B, P, u]`` from `attacks.wordwise.word_features`."""
        return self.linear(features.flatten(0, 1)[:, None])[:, 0].unflatten(0, features.shape[:2])


def _pairs(oracle: Oracle, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Features ``[n, f]`` and words ``[n]`` of some of her sentences, part by part."""
    for part in oracle.batches(rows):
        seen, words = oracle.mapped(part), oracle.images[part]
        assert seen.tokens.source is not None
        there = (seen.tokens.source != NOWHERE) & (words != NO_WORD)
        yield word_features(seen)[there], words[there]
