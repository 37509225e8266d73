"""What tokens tell of each word, weighed against what a language model knows of sentences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from atm.progress import track
from atm.signals import TextSignal
from atm.threat import Observation, ThreatModel
from attacks.base import Attack, held_out, permitted, require
from attacks.budget import Budget
from attacks.history import History
from attacks.oracle import Oracle
from attacks.word_decoder import WordDecoder
from attacks.word_ridge import WordRidge
from attacks.wordwise import Candidates, WordAttack, right

WEIGHTS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0)  # of the language model, against what tokens tell
CHOOSING = 24  # sentences of the adversary's own that choose between them


@dataclass
class RescoredWords(Attack):
    """The candidates of doubtful words are scored again, in their sentence, by a language model (``--prior``).

    What `attacks.word_ridge` or `attacks.word_decoder` believes of each candidate, whichever is right about more words
    of her own, adds to the logarithm of how likely the whole sentence is with it, times a weight. The weight is the one
    with which the most words of her own held-out sentences are right, 0 included. All places of a round are chosen in
    the sentence that the round before has left (iterated conditional modes, Besag 1986, all at a time).

    Attributes:
        places: of a sentence, those in which the first two candidates are the closest.
        count: candidates of a place.
        rounds: of choosing all places anew, in the sentence that the round before has left.
    """

    name: ClassVar[str] = "rescored_words"
    signals: ClassVar[tuple[str, ...]] = ("text",)
    order: ClassVar[int] = 4
    needs_prior: ClassVar[bool] = True
    QUICK: ClassVar[dict[str, Any]] = {"places": 3, "rounds": 1}

    places: int = 8
    count: int = 4
    rounds: int = 2

    @classmethod
    def share(cls, threat: ThreatModel) -> float:
        """As much as what is trained."""
        return 6

    def fit(self, oracle: Oracle) -> None:
        """Fit what comes before, and choose the weight."""
        require(self, oracle.threat)
        assert isinstance(oracle.signal, TextSignal) and oracle.prior is not None
        self.signal, self.prior, self.budget = oracle.signal, oracle.prior, oracle.budget
        starts: list[WordAttack] = [
            oracle.fitted(make) for make in (WordDecoder, WordRidge) if permitted(make, oracle.threat)
        ]
        own = held_out(len(oracle.images))[1]
        seen, words = oracle.observe(own), oracle.images[own]
        self.start = max(starts, key=lambda start: right(start.reconstruct(seen), words))
        first = torch.arange(min(CHOOSING, len(own)))
        known, words = self.start.candidates(seen.select(first), self.count), words[first]
        places = self._affordable(known, oracle.budget.part(1 / 3, "choosing"), 1)
        self.hurried = places < self.places
        self.history = History(cut=self.hurried)
        which = torch.zeros_like(known.there, dtype=torch.long)
        told = self._told(known, which, places)
        found = {w: right(known.chosen(_chosen(known, which, told, w)), words) for w in WEIGHTS}
        self.weight = max(WEIGHTS, key=lambda weight: found[weight])

    def reconstruct(self, seen: Observation) -> Tensor:
        """The likeliest words."""
        known = self.start.candidates(seen, self.count)
        which = torch.zeros_like(known.there, dtype=torch.long)
        if self.weight:
            places = self._affordable(known, self.budget, self.rounds)
            self.history = History(cut=self.hurried or places < self.places)
            for _ in range(self.rounds):
                which = _chosen(known, which, self._told(known, which, places), self.weight)
        return known.chosen(which)

    def _affordable(self, known: Candidates, budget: Budget, times: int) -> int:
        """Places of a sentence, where all sentences are looked at so often."""
        sentence = self._written(known.likeliest()[:1]) * (self.count - 1)
        return budget.steps(
            "rescoring", self.places, lambda: self.prior.log_likelihood(sentence), times=times * len(known.there)
        )

    def _told(self, known: Candidates, which: Tensor, places: int) -> Tensor:
        """``[B, P, K]``: what the language model makes of each candidate against the one that stands there, in the
        most doubtful places; minus infinity elsewhere but for what stands there.
        """
        told = torch.full_like(known.scores, -torch.inf).scatter(-1, which[..., None], 0.0)
        doubt = (known.scores[..., 1] - known.scores[..., 0]).masked_fill(~known.there, -torch.inf)
        for row in track(range(len(which)), "asking the language model"):
            likely = doubt[row].topk(min(places, int(known.there[row].sum()))).indices
            tried = torch.cartesian_prod(likely, torch.arange(known.words.shape[-1], device=likely.device))
            variants = which[row].repeat(1 + len(tried), 1)
            variants[torch.arange(1, len(variants)), tried[:, 0]] = tried[:, 1]
            one = known.select(torch.full((len(variants),), row))
            sentences = self._written(one.chosen(variants))
            distinct = list(dict.fromkeys(sentences))
            found = dict(zip(distinct, self.prior.log_likelihood(distinct).tolist(), strict=True))
            scores = torch.tensor([found[sentence] - found[sentences[0]] for sentence in sentences[1:]])
            told[row, tried[:, 0], tried[:, 1]] = scores.to(told)
        return told

    def _written(self, sentences: Tensor) -> list[str]:
        """As people write them."""
        return [self.signal.joined(row) for row in sentences]


def _chosen(known: Candidates, which: Tensor, told: Tensor, weight: float) -> Tensor:
    """``[B, P]``: the candidates that are the likeliest, those about which nothing was told left as they are."""
    silent = told.isinf()
    scores = (known.scores + weight * told.masked_fill(silent, 0.0)).masked_fill(silent, -torch.inf)
    return torch.where(known.there, scores.argmax(-1), which)
