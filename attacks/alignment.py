"""Recovers from the tokens alone which patches each one stands for.

Ordinary decoders fail on merged or shuffled tokens only because they no longer know where a token belongs, and the
tokens still tell it (Leggio et al. 2026, "Position Matters"). There each token gets one position; a merged token has
several, so here it is each patch that chooses its token: a distribution over the tokens of its image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from atm import precision
from atm.link import Link
from atm.threat import Knowledge, Observation, ThreatModel
from atm.tokens import NOWHERE, TokenBatch
from attacks.base import held_out
from attacks.network import Block
from attacks.shared import fitted
from attacks.training import Schedule, train

# The adversary is told the map, or can run the device herself on her own images and learn to recover it.
ALIGNABLE = (Knowledge.MERGE_MAP, Knowledge.WEIGHTS | Knowledge.POLICY)


def aligned(link: Link, threat: ThreatModel, images: Tensor) -> Callable[[Observation], Observation]:
    """What puts a merge map into this adversary's observations: nothing if it is there, else a fitted `Alignment`."""
    if Knowledge.MERGE_MAP in threat.under(link.defence).knows:
        return lambda seen: seen
    return fitted(Alignment, link, threat, images).complete


def token_features(seen: Observation) -> Tensor:
    """``[T, f]``: the tokens' values, and their logarithmic sizes where the adversary knows them."""
    tokens = seen.tokens
    parts = [tokens.values] if tokens.sizes is None else [tokens.values, tokens.sizes.log()[:, None]]
    if isinstance(seen.snr_db, Tensor) and seen.snr_db.ndim == 1:
        parts.append((seen.snr_db.clamp(-20, 30) / 10)[tokens.image_of_token][:, None])
    return torch.cat(parts, -1)


@dataclass
class Alignment:
    """A set transformer over the tokens; each patch's query scores them. Trained on the adversary's own images.

    Attributes:
        width: of the transformer.
        layers: of the transformer.
        schedule: of the training.
    """

    name: ClassVar[str] = "alignment"
    QUICK: ClassVar[dict[str, Any]] = {"schedule": Schedule(steps=120, batch=64, every=40)}

    width: int = 96
    layers: int = 2
    schedule: Schedule = field(default_factory=lambda: Schedule(steps=2000, batch=64, patience=3))

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Run the device on the auxiliary images, whose merge maps the adversary therefore has, and train."""
        threat.require(ALIGNABLE[1], self.name)
        seen = threat.rehearse(link, images)
        features = token_features(seen)
        self.mean, self.scale = features.mean(0), features.std(0).clamp_min(1e-6)
        tokens, source = seen.tokens.with_values((features - self.mean) / self.scale), seen.tokens.source
        assert source is not None
        self.network = _Matcher(features.shape[1], source.shape[1], self.width, self.layers)

        def loss_on(rows: Tensor) -> Tensor:
            part = tokens.select(rows)
            scores = self._scores(part)
            return cross_entropy(scores.flatten(0, 1), source[rows].flatten(), ignore_index=NOWHERE)

        self.history = train(self.network, loss_on, *held_out(len(images)), self.schedule, "the alignment")

    @torch.no_grad()
    def complete(self, seen: Observation) -> Observation:
        """The observation with the most likely merge map."""
        tokens = seen.tokens.with_values((token_features(seen) - self.mean) / self.scale)
        parts = []
        for rows in torch.arange(len(seen)).split(256):
            part = tokens.select(rows)
            scores = self._scores(part)
            best = scores.argmax(-1)
            for image, count in enumerate(part.counts):
                if count - part.prefix == scores.shape[1]:  # as many tokens as patches: one to one
                    likely = scores[image, :, part.prefix : count].log_softmax(-1).double().cpu().numpy()
                    best[image] = torch.as_tensor(linear_sum_assignment(likely, maximize=True)[1]) + part.prefix
            parts.append(best)
        return replace(seen, tokens=replace(seen.tokens, source=torch.cat(parts)))

    def _scores(self, tokens: TokenBatch) -> Tensor:
        with precision.fast(tokens.values.device):
            return self.network(*tokens.padded(), tokens.prefix).float()


class _Matcher(nn.Module):
    def __init__(self, features: int, patches: int, width: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Linear(features, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers))
        self.norm, self.key = nn.LayerNorm(width), nn.Linear(width, width)
        self.patches = nn.Parameter(torch.randn(patches, width) * 0.02)

    def forward(self, tokens: Tensor, mask: Tensor, prefix: int) -> Tensor:
        """Tokens ``[B, t, f]`` and their mask -> scores ``[B, P, t]`` of each patch for each token."""
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x, mask=mask)
        scores = self.patches @ self.key(self.norm(x)).transpose(1, 2)
        allowed = mask.clone()
        allowed[:, :prefix] = False  # a protected token holds no patch
        return scores.masked_fill(~allowed[:, None], -1e4)
