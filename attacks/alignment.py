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
from attacks.base import Method, held_out
from attacks.discriminant import Discriminant, completed
from attacks.matcher import Matcher
from attacks.placer import Placer
from attacks.recorded import Recorded
from attacks.training import Schedule, train

if TYPE_CHECKING:
    from attacks.oracle import Oracle

# The adversary is told the map, or can run the device herself on her own images and learn to recover it.
ALIGNABLE = (Knowledge.MERGE_MAP, Knowledge.WEIGHTS | Knowledge.POLICY)
MOST, MOST_NUMBERS = 4000, 2**27  # images, and numbers of theirs, from which the positions' means are taken
AGAIN = 0.1  # of the learning rate, where the training goes on from what was trained before
COMPARED = 128  # held-out images that say whether to begin from there


@dataclass
class Alignment(Method):
    """A set transformer over the tokens corrects what each token tells by itself of where it belongs.

    By itself it tells it in closed form (`attacks.discriminant`); the transformer starts from that, or from one that
    was trained before (`attacks.placer`) if that places her held-out images better. Trained on the adversary's own
    images.

    Attributes:
        width: of the transformer.
        layers: of the transformer.
        schedule: of the training.
    """

    name: ClassVar[str] = "alignment"
    QUICK: ClassVar[dict[str, Any]] = {"schedule": Schedule(rate=3e-3, steps=120, batch=32, every=40)}

    width: int = 96
    layers: int = 2
    schedule: Schedule = field(default_factory=lambda: Schedule(rate=3e-3, steps=4000, patience=3))

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
        self.network, schedule = Matcher.over(self.discriminant, self.width, self.layers), self.schedule
        if oracle.placer is not None and self._begin_with(oracle.placer, oracle.rehearse(held[:COMPARED])):
            schedule = replace(schedule, rate=AGAIN * schedule.rate)

        told = Recorded.of(self._told_of(oracle.rehearse(rows)) for rows in oracle.batches())

        def loss_on(rows: Tensor) -> Tensor:
            return self._loss(told.select(rows).tokens)

        self.history = train(self.network, loss_on, train_rows, held, schedule, "the alignment", oracle.budget)

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
    def _begin_with(self, placer: Placer, held: Observation) -> bool:
        """Take what was trained before, if it is for tokens like these and places held-out images better."""
        if not placer.suits(self.discriminant):
            return False
        own, loss = (self.discriminant, self.network), float(self._loss(self._told_of(held).tokens))
        drawn = torch.get_rng_state()
        self.discriminant, self.network = placer.begin(self.discriminant)
        if float(self._loss(self._told_of(held).tokens)) < loss:
            return True
        self.discriminant, self.network = own
        torch.set_rng_state(drawn)  # all goes on as if there had been none
        return False
