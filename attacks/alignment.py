"""Recovers from the tokens alone which patches each one stands for.

Ordinary decoders fail on merged or shuffled tokens only because they no longer know where a token belongs, and the
tokens still tell it (Leggio et al. 2026, "Position Matters"). There each token gets one position; a merged token has
several, so here it is each patch that chooses its token: a distribution over the tokens of its image.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from atm import precision
from atm.knowledge import Knowledge
from atm.threat import Observation
from atm.tokens import NOWHERE, TokenBatch
from attacks.base import Method, held_out
from attacks.discriminant import MOST_TOLD, Discriminant, completed, permitted
from attacks.network import Block
from attacks.recorded import Recorded
from attacks.training import Schedule, train

if TYPE_CHECKING:
    from attacks.oracle import Oracle

# The adversary is told the map, or can run the device herself on her own images and learn to recover it.
ALIGNABLE = (Knowledge.MERGE_MAP, Knowledge.WEIGHTS | Knowledge.POLICY)
MOST, MOST_NUMBERS = 4000, 2**27  # images, and numbers of theirs, from which the positions' means are taken


@dataclass
class Alignment(Method):
    """A set transformer over the tokens corrects what each token tells by itself of where it belongs.

    By itself it tells it in closed form (`attacks.discriminant`); the transformer starts from that. Trained on the
    adversary's own images.

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
        features, places = self.discriminant.slopes.shape
        self.network = _Matcher(features, places, self.width, self.layers).to(self.discriminant.slopes.device)

        told = Recorded.of(self._told_of(oracle.rehearse(rows)) for rows in oracle.batches())

        def loss_on(rows: Tensor) -> Tensor:
            tokens = told.select(rows).tokens
            assert tokens.source is not None
            return cross_entropy(self._scores(tokens).flatten(0, 1), tokens.source.flatten(), ignore_index=NOWHERE)

        self.history = train(self.network, loss_on, train_rows, held, self.schedule, "the alignment", oracle.budget)

    @torch.no_grad()
    def scores(self, seen: Observation) -> Tensor:
        """``[B, P, t]``: the logarithmic probability of each patch to have ended in each token of its image."""
        return self._scores(self._told_of(seen).tokens).log_softmax(-1)

    def complete(self, seen: Observation) -> Observation:
        """The observation with the most likely merge map, if it has none."""
        return completed(seen, self.scores, self.discriminant)

    def _told_of(self, seen: Observation) -> Observation:
        """What the network is given of each token, in place of its values: ``[T, f + P]``."""
        tokens = self.discriminant.standard(seen)
        told = torch.cat([tokens.values, self.discriminant.told(tokens)], 1)
        return replace(seen, tokens=tokens.with_values(told), symbols=seen.symbols[:, :0])

    def _scores(self, tokens: TokenBatch) -> Tensor:
        with precision.fast(tokens.values.device):
            return self.network(*tokens.padded(), tokens.prefix).float()


class _Matcher(nn.Module):
    def __init__(self, features: int, patches: int, width: int, layers: int) -> None:
        super().__init__()
        self.patches = patches
        self.embed = nn.Linear(features + patches, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, patches)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.trust = nn.Parameter(torch.tensor(0.5))  # in what tokens tell by themselves

    def forward(self, tokens: Tensor, mask: Tensor, prefix: int) -> Tensor:
        """Tokens ``[B, t, f + P]`` and their mask -> scores ``[B, P, t]`` of each patch for each token."""
        told = tokens[..., -self.patches :]
        around = (told - told.mean(-1, keepdim=True)).clamp(-MOST_TOLD, MOST_TOLD)
        x = self.embed(torch.cat([tokens[..., : -self.patches], around / 10], -1))
        for block in self.blocks:
            x = block(x, mask=mask)
        scores = (self.trust * told.clamp_min(-MOST_TOLD) + self.out(self.norm(x))).transpose(1, 2)
        return permitted(scores, mask, prefix)
