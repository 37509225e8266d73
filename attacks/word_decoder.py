"""A learned inversion of sentences, trained on what the adversary really sees of her own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from atm.knowledge import Knowledge
from atm.rows import few
from atm.signals import TextSignal
from atm.threat import Observation, ThreatModel
from attacks.base import held_out, mean_and_scale, require
from attacks.discriminant import token_features
from attacks.network import Block
from attacks.oracle import Oracle
from attacks.training import Schedule, train
from attacks.word_ridge import WordRidge
from attacks.wordwise import Candidates, Lexicon, WordAttack, word_features
from privacy_metrics.words import NO_WORD

RIVALS = 1024  # commonest words, and as many others drawn at random, among which a step asks for the right one
MOST_TRUST = 64.0  # in the first estimate: more leaves the training no slope
SCHEDULE = Schedule(rate=1e-3, batch=32, steps=6000, every=100)


@dataclass
class WordDecoder(WordAttack):
    """A transformer in which every place of the sentence attends to all received tokens, in whatever order they come.

    It says of each place whether a word stands there, and of which embedding. Who has the merge map gives each place
    its token too, and starts from what `attacks.word_ridge` estimates, so that it is never behind; who has not starts
    from nothing, and learns from the tokens where they belong.

    Attributes:
        width: of the transformer.
        layers: of the transformer.
        schedule: of the training.
    """

    name: ClassVar[str] = "word_decoder"
    signals: ClassVar[tuple[str, ...]] = ("text",)
    order: ClassVar[int] = 1
    QUICK: ClassVar[dict[str, Any]] = {"schedule": replace(SCHEDULE, steps=200, every=50)}

    width: int = 128
    layers: int = 2
    schedule: Schedule = SCHEDULE

    @classmethod
    def share(cls, threat: ThreatModel) -> float:
        """Much: the others are solved in closed form."""
        return 6

    def fit(self, oracle: Oracle) -> None:
        """Solve ridge where there is a map, then train."""
        require(self, oracle.threat)
        assert isinstance(oracle.signal, TextSignal)
        self.signal = oracle.signal
        self.ridge = oracle.fitted(WordRidge) if Knowledge.MERGE_MAP in oracle.knows else None
        self.lexicon = Lexicon.of(self.signal, oracle.images) if self.ridge is None else self.ridge.lexicon
        self.mean, self.scale = mean_and_scale(token_features(oracle.observe(rows)) for rows in oracle.batches())
        start, features, tokens, _ = self._inputs(oracle.observe(torch.arange(1)))
        places, unit = start.shape[1:]
        self.network = _Network(
            0 if features is None else features.shape[-1], tokens.shape[-1], (places, unit), self.width, self.layers,
            min(self.lexicon.trust, MOST_TRUST),
        ).to(oracle.device)  # fmt: skip
        common = self.lexicon.common.topk(min(RIVALS, len(self.lexicon.common))).indices

        def loss_on(rows: Tensor) -> Tensor:
            words = oracle.images[rows]
            there = words != NO_WORD
            units, presence = self.network(*self._inputs(oracle.observe(rows)))
            others = torch.randint(len(self.lexicon.common), (RIVALS,)).to(words.device)
            among, right = torch.cat([words[there], common, others]).unique(return_inverse=True)
            scores = self.lexicon.scores(units[there], self.network.trust, among)
            told = cross_entropy(scores, right[: int(there.sum())])
            return told + binary_cross_entropy_with_logits(presence, there.to(presence))

        rows = held_out(len(oracle.images))
        self.history = train(self.network, loss_on, *rows, self.schedule, "the word decoder", oracle.budget)

    @torch.no_grad()
    def candidates(self, seen: Observation, count: int) -> Candidates:
        """The likeliest words wherever one is believed to stand; at least one place a sentence."""
        parts = []
        for rows in torch.arange(len(seen)).split(few(2 * self.signal.places * seen.tokens.values.shape[-1], 256)):
            units, presence = self.network(*self._inputs(seen.select(rows)))
            there = (presence > 0) | (presence == presence.amax(1, keepdim=True))
            parts.append(self.lexicon.candidates(units, there, count, self.network.trust))
        return Candidates.cat(parts)

    @torch.no_grad()
    def _inputs(self, seen: Observation) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """First estimate ``[B, P, u]``, features of the places, tokens ``[B, t, f]`` and the mask of real ones."""
        tokens = seen.tokens.with_values((token_features(seen) - self.mean) / self.scale).padded()
        if self.ridge is None:
            return tokens[0].new_zeros(len(seen), self.signal.places, self.signal.unit), None, *tokens
        features = word_features(seen)
        standard = (features - self.ridge.linear.mean_x) / self.ridge.linear.scale
        return self.ridge.estimate(features), standard.clamp(-10, 10), *tokens


class _Network(nn.Module):
    """Corrects a first estimate of every place's unit; equal to it until it is trained."""

    def __init__(
        self, features: int, tokens: int, shape: tuple[int, int], width: int, layers: int, trust: float
    ) -> None:
        super().__init__()
        places, unit = shape
        self.embed = nn.Linear(features, width) if features else None
        self.token = nn.Linear(tokens, width)
        self.position = nn.Parameter(torch.randn(places, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, cross=True) for _ in range(layers))
        self.norm, self.out, self.presence = nn.LayerNorm(width), nn.Linear(width, unit), nn.Linear(width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.trust = nn.Parameter(torch.tensor(float(trust)))

    def forward(self, start: Tensor, features: Tensor | None, tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Units ``[B, P, u]``, and ``[B, P]`` logits of whether there is a word."""
        x = self.position.expand(len(start), -1, -1)
        if self.embed is not None:
            x = x + self.embed(features)
        told = self.token(tokens)
        for block in self.blocks:
            x = block(x, told, mask)
        x = self.norm(x)
        return start + self.out(x), self.presence(x).squeeze(-1)
