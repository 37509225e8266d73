"""White-box inversion of sentences: a descent between words, which are put back at intervals, and then word by word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from atm.knowledge import Knowledge
from atm.progress import track
from atm.signals import TextSignal
from atm.text_encoder import TextEncoder
from atm.threat import Observation, ThreatModel
from attacks.base import ALIGNABLE, Attack, held_out, require
from attacks.budget import Budget
from attacks.guided import Guided
from attacks.history import History
from attacks.objective import WHITE_BOX, Target
from attacks.oracle import Oracle
from attacks.word_decoder import WordDecoder
from attacks.word_ridge import WordRidge
from attacks.wordwise import Candidates, WordAttack, right
from privacy_metrics.words import NO_WORD

WEIGHTS = (1.0, 0.01)  # of what arrived, against what the decoder believes of each word
CHOOSING = 8  # sentences of the adversary's own that choose between them
LEAST = -20.0  # logarithm of a candidate's part in a mixture


@dataclass
class RelaxedWords(Attack):
    """The likeliest sentence given what arrived and what `attacks.word_decoder` believes of each of its words.

    `attacks.word_ridge` takes the decoder's place where that had too little time. Every place holds a mixture of its
    candidates, as a softmax, and a mixture of words goes through encoder, merging along the observed map
    (`attacks.guided`), defence and codec (as Song and Raghunathan 2020 do for the embeddings of sentences). At
    intervals each place takes its likeliest word, and the sentence is kept if it is likelier. Then single words are
    exchanged: those that the gradient promises the most of (HotFlip, Ebrahimi et al. 2018) are tried, none twice until
    one has helped. How much what arrived counts is chosen on sentences of her own: nothing, where it misleads.

    Attributes:
        steps: of the descent.
        every: steps between two times at which words are put back.
        rounds: of exchanges, each with a gradient and ``tries`` sentences.
        tries: exchanges of a round.
        count: candidates of a place.
        rate: of Adam, on the logarithms of the mixture.
        batch: sentences at a time.
    """

    name: ClassVar[str] = "relaxed_words"
    signals: ClassVar[tuple[str, ...]] = ("text",)
    order: ClassVar[int] = 3
    needs: ClassVar[Knowledge] = WHITE_BOX
    needs_one_of: ClassVar[tuple[Knowledge, ...]] = ALIGNABLE
    QUICK: ClassVar[dict[str, Any]] = {"steps": 6, "every": 3, "rounds": 4, "tries": 4}

    steps: int = 30
    every: int = 10
    rounds: int = 40
    tries: int = 8
    count: int = 64
    rate: float = 0.5
    batch: int = 16

    @classmethod
    def share(cls, threat: ThreatModel) -> float:
        """As much as the decoder that it starts from."""
        return 6

    def fit(self, oracle: Oracle) -> None:
        """Fit where the search starts, measure the noise, and choose the weight."""
        require(self, oracle.threat)
        assert isinstance(oracle.signal, TextSignal)
        self.budget, self.complete = oracle.budget, oracle.complete
        self.likelihood = Guided(oracle)
        encoder = self.likelihood.link.encoder
        assert isinstance(encoder, TextEncoder)
        self.table = encoder.embeddings
        own = held_out(len(oracle.images))[1]
        seen, words = self.complete(oracle.observe(own)), oracle.images[own]
        starts: list[WordAttack] = [oracle.fitted(WordDecoder), oracle.fitted(WordRidge)]
        self.start = max(starts, key=lambda start: right(start.reconstruct(seen), words))
        first = torch.arange(min(CHOOSING, len(own)))
        self.weight = self._choose(seen.select(first), words[first], oracle.budget.part(1 / 3, "choosing"))

    def _choose(self, seen: Observation, words: Tensor, budget: Budget) -> float:
        """The first weight with which more words of her own sentences are right; 0 where none does better."""
        known, target = self.start.candidates(seen, self.count), self.likelihood.target(seen)
        self.weight = WEIGHTS[0]
        work = self._affordable(known, target, budget, len(WEIGHTS))
        self.hurried = work != (self.steps, self.rounds)
        for weight in WEIGHTS:
            self.weight, self.history = weight, History()
            if right(self._search(known, target, *work), words) > right(known.likeliest(), words):
                return weight
        return 0.0

    def reconstruct(self, seen: Observation) -> Tensor:
        """The likeliest sentences that were found."""
        self.history = History(cut=self.hurried)
        seen = self.complete(seen)
        known, target = self.start.candidates(seen, self.count), self.likelihood.target(seen)
        if not self.weight:
            return known.likeliest()
        batches = torch.arange(len(seen)).split(self.batch)
        first = batches[0]
        work = self._affordable(known.select(first), target.select(first), self.budget, len(batches))
        self.history.cut = self.history.cut or work != (self.steps, self.rounds)
        parts = [
            self._search(known.select(rows), target.select(rows), *work) for rows in track(batches, "relaxing words")
        ]
        return torch.cat(parts)

    def _affordable(self, known: Candidates, target: Target, budget: Budget, times: int) -> tuple[int, int]:
        """Steps of the descent and rounds of exchanges, where so many batches like this one are searched."""
        which = torch.zeros_like(known.there, dtype=torch.long)

        def exchanged() -> None:
            self._slope(self._embedded(known.chosen(which)), target)
            for _ in range(self.tries):
                self._losses(which, known, target)

        def descended() -> None:
            self._slope(self._mixed(known.scores, known), target)

        relaxing, exchanging = budget.part(1 / 4, "relaxing"), budget.part(3 / 4, "exchanging")
        steps = relaxing.steps("descending", self.steps, descended, times=times)
        return steps, exchanging.steps("exchanging", self.rounds, exchanged, times=times)

    def _search(self, known: Candidates, target: Target, steps: int, rounds: int) -> Tensor:
        """``[B, P]``: the likeliest of all sentences that were tried, the decoder's own first."""
        which = torch.zeros_like(known.there, dtype=torch.long)
        best = _Best(which, self._losses(which, known, target))
        self._relax(best, known, target, steps)
        self._exchange(best, known, target, rounds, steps)
        return known.chosen(best.which)

    def _relax(self, best: _Best, known: Candidates, target: Target, steps: int) -> None:
        """Descend in the mixtures; at intervals go on from the best sentence, half in doubt about it."""
        logits = known.scores.clamp_min(LEAST).clone().requires_grad_()
        optimizer = torch.optim.Adam([logits], self.rate)
        for step in range(1, steps + 1):
            with torch.enable_grad():
                mixture = self._mixed(logits, known)
                loss, slope = self._slope(mixture, target)
                believed = (logits.softmax(-1) * known.scores).sum(-1)[known.there].sum()
                optimizer.zero_grad()
                ((mixture * slope).sum() - believed).backward()
            self._record(loss, slope, step - 1)
            optimizer.step()
            if step % self.every == 0 or step == steps:
                with torch.no_grad():
                    words = logits.argmax(-1)
                    best.offer(words, self._losses(words, known, target))
                    certain = one_hot(best.which, logits.shape[-1])
                    logits.copy_(((logits.softmax(-1) + certain) / 2).log().clamp_min(LEAST))

    def _exchange(self, best: _Best, known: Candidates, target: Target, rounds: int, first: int) -> None:
        """Try in each round the exchanges of single words that promise the most, none twice until one has helped."""
        rows, count = torch.arange(len(known.there)), known.words.shape[-1]
        barred = (~known.there)[..., None].expand_as(known.scores).clone()
        for number in range(rounds):
            at, before = self._embedded(known.chosen(best.which)), best.which.clone()
            loss, slope = self._slope(at, target)
            self._record(loss, slope, first + number)
            told = self.table[known.words] @ slope[..., None]
            gain = known.scores - told.squeeze(-1)
            gain = gain - gain.gather(-1, before[..., None])  # against the word that stands there
            gain = gain.masked_fill(barred | one_hot(before, count).bool(), -torch.inf)
            chosen = gain.flatten(1).topk(min(self.tries, gain[0].numel())).indices
            least = best.losses.clone()
            for column in chosen.T:
                which = before.clone()
                which[rows, column // count] = column % count
                best.offer(which, self._losses(which, known, target))
            barred.flatten(1)[rows[:, None], chosen] = True
            helped = best.losses < least
            barred[helped] = (~known.there)[helped][..., None].expand_as(barred[helped])

    def _losses(self, which: Tensor, known: Candidates, target: Target) -> Tensor:
        """``[B]``: minus the logarithm of how likely sentences of the candidates are, up to a constant."""
        with torch.no_grad():
            arrived = self._unlikely(self._embedded(known.chosen(which)), target)
        believed = known.scores.gather(-1, which[..., None]).squeeze(-1) * known.there
        return arrived - believed.sum(1)

    def _slope(self, embedded: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """How unlikely what arrived is, ``[B]``, and the gradient of that, ``[B, P, d]``, in what stands where."""
        with torch.enable_grad():
            embedded = embedded.detach().requires_grad_()
            loss = self._unlikely(embedded, target)
            (slope,) = torch.autograd.grad(loss.sum(), embedded)
        return loss.detach(), slope

    def _unlikely(self, embedded: Tensor, target: Target) -> Tensor:
        """``[B]``, weighted. The noise is taken for unknown, and no less than it was measured: a sentence of which a
        word is wrong errs everywhere, and far more than any noise.
        """
        values = target.weights.sum(1) * target.values.shape[-1]
        return self.weight * values / 2 * (self.likelihood(embedded, target) / values).log1p()

    def _mixed(self, logits: Tensor, known: Candidates) -> Tensor:
        """``[B, P, d]``: the mean embedding of each place's mixture, zeros where there is no word."""
        mixed = (logits.softmax(-1)[..., None, :] @ self.table[known.words]).squeeze(-2)
        return mixed * known.there[..., None]

    def _embedded(self, sentences: Tensor) -> Tensor:
        """``[B, P, d]`` of words ``[B, P]``, likewise."""
        return self.table[sentences.clamp_min(0)] * (sentences != NO_WORD)[..., None]

    def _record(self, loss: Tensor, slope: Tensor, number: int) -> None:
        assert self.history is not None
        self.history.step(loss.sum(), slope.norm(), number)


@dataclass
class _Best:
    """The likeliest sentences so far: which candidates ``[B, P]``, and their losses ``[B]``."""

    which: Tensor
    losses: Tensor

    def offer(self, which: Tensor, losses: Tensor) -> None:
        """Take those that are likelier."""
        better = losses < self.losses
        self.which = torch.where(better[:, None], which, self.which)
        self.losses = torch.where(better, losses, self.losses)
