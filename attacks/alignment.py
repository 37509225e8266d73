"""Recovers from the tokens alone which patches each one stands for.

Ordinary decoders fail on merged or shuffled tokens only because they no longer know where a token belongs, and the
tokens still tell it (Leggio et al. 2026, "Position Matters"). There each token gets one position; a merged token has
several, so here it is each patch that chooses its token: a distribution over the tokens of its image.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from atm.knowledge import Knowledge
from atm.threat import Observation
from atm.tokens import NOWHERE, TokenBatch
from attacks.base import ALIGNABLE, Method, held_out
from attacks.beginning import GONE_ON, LEFT, UNFIT, Beginning
from attacks.budget import Budget
from attacks.discriminant import Discriminant, completed
from attacks.history import History
from attacks.matcher import Matcher
from attacks.placer import Placer
from attacks.recorded import Recorded
from attacks.training import Schedule, train, trial_step
from attacks.varied import Varied

if TYPE_CHECKING:
    from attacks.oracle import Oracle

MOST, MOST_NUMBERS = 4000, 2**27  # images, and numbers of theirs, from which the positions' means are taken
AGAIN = 0.1  # of the learning rate, where the training goes on from what was trained before
COMPARED = 128  # held-out images that say whether to begin from there


@dataclass
class Alignment(Method):
    """A set transformer over the tokens corrects what each token tells by itself of where it belongs.

    By itself it tells it in closed form (`attacks.discriminant`); the transformer starts from that. Trained on the
    adversary's own images. Where she has one that was trained before (`attacks.placer`) and that places her held-out
    images better still, the training goes on from there; it never makes her weaker, but for half of a limited time.

    Attributes:
        width: of the transformer.
        layers: of the transformer.
        schedule: of the training.
        again: go on from what was trained before, whatever her own images teach.
    """

    name: ClassVar[str] = "alignment"
    QUICK: ClassVar[dict[str, Any]] = {"schedule": Schedule(rate=3e-3, steps=120, batch=32, every=40)}

    width: int = 96
    layers: int = 2
    schedule: Schedule = field(default_factory=lambda: Schedule(rate=3e-3, steps=4000, patience=3))
    again: bool = False

    def fit(self, oracle: Oracle) -> None:
        """Run the device on the auxiliary images, whose merge maps the adversary therefore has, and train."""
        oracle.threat.require(ALIGNABLE[1], self.name)
        train_rows, held = held_out(len(oracle.images))
        first = oracle.rehearse(train_rows[:1]).tokens
        numbers = int(oracle.lengths.max()) * first.values.shape[-1]
        self.discriminant = Discriminant.of(
            lambda: (oracle.rehearse(rows) for rows in oracle.batches()),
            oracle.rehearse(train_rows[: min(MOST, max(MOST_NUMBERS // numbers, 2))]),
            Knowledge.ORDER in oracle.knows,
            oracle.signal.fills,
        )
        self.network, rows = Matcher.over(self.discriminant, self.width, self.layers), (train_rows, held)
        placer = oracle.placer
        if placer is not None and placer.suits(self.discriminant):
            self._fit_from(placer, oracle, rows)
            return
        self.history = self._trained(oracle, rows, self.schedule, oracle.budget)
        if placer is not None:
            placed = self._placed(oracle, held)
            self.beginning = Beginning(UNFIT, alone=placed, placed=placed)

    def _fit_from(self, placer: Placer, oracle: Oracle, rows: tuple[Tensor, Tensor]) -> None:
        """Train as she would without a placer, and go on from the placer if it is better still."""
        given, held, alone = self._of(placer), rows[1], None
        if not self.again:
            self.history = self._trained(oracle, rows, self.schedule, oracle.budget.part(0.5, "alone"))
            alone = self._placed(oracle, held)
        before = given._placed(oracle, held)
        gone_on = self.again or self._worse_than(placer, oracle.rehearse(held[:COMPARED]))
        if gone_on:
            self.discriminant, self.network = given.discriminant, given.network
            slower = replace(self.schedule, rate=AGAIN * self.schedule.rate)
            self.history = self._trained(oracle, rows, slower, oracle.budget)
        self.beginning = Beginning(GONE_ON if gone_on else LEFT, alone, before, self._placed(oracle, held))

    def _trained(self, oracle: Oracle, rows: tuple[Tensor, Tensor], schedule: Schedule, budget: Budget) -> History:
        """Train the network on some rows of her images and variations of these, and choose by others."""
        train_rows, held = rows
        told = self._told(oracle)

        def loss_on(some: Tensor) -> Tensor:
            return self._loss(told.select(some).tokens)

        step = trial_step(self.network, loss_on, train_rows[: schedule.batch])
        times = Varied.affordable(oracle.within(budget), schedule, step)
        if times:
            varied = oracle.fitted(Varied, times=times).oracle
            told = self._told(oracle, varied)
            train_rows = torch.cat([train_rows, len(oracle.images) + torch.arange(len(varied.images))])
        return train(self.network, loss_on, train_rows, held, schedule, "the alignment", budget)

    def _told(self, *oracles: Oracle) -> Recorded:
        """What the network is given of all images of some oracles, one after the other."""
        return Recorded.of(self._told_of(oracle.rehearse(part)) for oracle in oracles for part in oracle.batches())

    @torch.no_grad()
    def scores(self, seen: Observation) -> Tensor:
        """``[B, P, t]``: the logarithmic probability of each patch to have ended in each token of its image."""
        return self.network.scores(self._told_of(seen).tokens).log_softmax(-1)

    def complete(self, seen: Observation) -> Observation:
        """The observation with the most likely merge map, if it has none."""
        return completed(seen, self.scores, self.discriminant)

    def _told_of(self, seen: Observation) -> Observation:
        """What the network is given of each token, in place of its values: ``[T, f + P]``."""
        tokens = self.discriminant.standard(seen)
        told = torch.cat([tokens.values, self.discriminant.told(tokens)], 1)
        return replace(seen, tokens=tokens.with_values(told), symbols=seen.symbols[:, :0])

    def _loss(self, tokens: TokenBatch) -> Tensor:
        """Cross-entropy of each patch's token, of tokens as the network is given them."""
        assert tokens.source is not None
        return cross_entropy(self.network.scores(tokens).flatten(0, 1), tokens.source.flatten(), ignore_index=NOWHERE)

    @torch.no_grad()
    def _worse_than(self, placer: Placer, held: Observation) -> bool:
        """Whether what was trained before places held-out images better than what her own images have taught her."""
        losses = [float(each._loss(each._told_of(held).tokens)) for each in (self._of(placer), self)]
        return losses[0] < losses[1]

    def _of(self, placer: Placer) -> Alignment:
        """What was trained before, for the tokens that this one is for."""
        other = Alignment(self.width, self.layers)
        other.discriminant, other.network = placer.begin(self.discriminant)
        return other

    def _placed(self, oracle: Oracle, held: Tensor) -> float:
        """The share of the patches of held-out images, at most `COMPARED`, whose token it finds."""
        seen = oracle.rehearse(held[:COMPARED])
        truth = seen.tokens.source
        found = self.complete(seen.without_map(Knowledge.ORDER in oracle.told)).tokens.source
        assert truth is not None and found is not None
        arrived = truth != NOWHERE
        return float((found == truth)[arrived].double().mean()) if bool(arrived.any()) else 0.0
