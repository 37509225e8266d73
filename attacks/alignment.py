"""Recovers from the tokens alone which patches each one stands for.

Ordinary decoders fail on merged or shuffled tokens only because they no longer know where a token belongs, and the
tokens still tell it (Leggio et al. 2026, "Position Matters"). There each token gets one position; a merged token has
several, so here it is each patch that chooses its token: a distribution over the tokens of its image.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from atm import precision
from atm.knowledge import Knowledge
from atm.threat import Observation
from atm.tokens import NOWHERE, TokenBatch
from attacks.base import Method, frame_features, held_out, mean_and_scale
from attacks.network import Block
from attacks.recorded import Recorded
from attacks.training import Schedule, train

if TYPE_CHECKING:
    from attacks.oracle import Oracle

# The adversary is told the map, or can run the device herself on her own images and learn to recover it.
ALIGNABLE = (Knowledge.MERGE_MAP, Knowledge.WEIGHTS | Knowledge.POLICY)
FORBIDDEN = -1e9  # score of a token that holds no patch
MOST, MOST_NUMBERS = 4000, 2**27  # images, and numbers of theirs, from which the positions' means are taken
MOST_TOLD = 50.0  # certainty enough; without noise a token tells its position beyond all doubt
DAMPING = 1e-3  # of the covariance of tokens, relative to its mean eigenvalue


def token_features(seen: Observation) -> Tensor:
    """``[T, f]``: the tokens' values, their logarithmic sizes where the adversary knows them, and the frame's own."""
    tokens = seen.tokens
    parts = [tokens.values] if tokens.sizes is None else [tokens.values, tokens.sizes.clamp_min(1).log()[:, None]]
    return torch.cat([*parts, *(each[tokens.image_of_token] for each in frame_features(seen))], -1)


def assigned(scores: Tensor, tokens: TokenBatch) -> Tensor:
    """``[B, P]`` int64: the token of each patch that makes the scores ``[B, P, t]`` add up to the most.

    Where sizes are known, each token gets as many patches as it stands for; where there are as many tokens as patches,
    one. Else each patch has its own best.
    """
    best, prefix, patches = scores.argmax(-1), tokens.prefix, scores.shape[1]
    for image, (count, begin) in enumerate(zip(tokens.counts, tokens.offsets.tolist(), strict=True)):
        sizes = torch.ones(count - prefix)
        if tokens.sizes is not None:
            sizes = tokens.sizes[begin + prefix : begin + count].round().cpu()
        if int(sizes.sum()) == patches:
            slots = torch.repeat_interleave(torch.arange(prefix, count), sizes.long())
            likely = scores[image][:, slots.to(scores.device)].double().cpu().numpy()
            best[image] = slots[torch.as_tensor(linear_sum_assignment(likely, maximize=True)[1])].to(best.device)
    return best


@dataclass
class Alignment(Method):
    """A set transformer over the tokens corrects what each token tells by itself of where it belongs.

    By itself it tells it in closed form: tokens of one position are taken for Gaussian around that position's mean,
    with one covariance for all (linear discriminant analysis). That alone, in half a second, places a third of the
    unmerged tokens of ``vit_cifar10``; the transformer starts from it. Trained on the adversary's own images.

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
        self.ordered = Knowledge.ORDER in oracle.knows
        # Asked of her own tokens, because a defence may put them into another order.
        self.in_place = self.ordered and _in_place(oracle.rehearse(rows) for rows in oracle.batches())
        train_rows, held = held_out(len(oracle.images))
        self.mean, self.scale = mean_and_scale(self._features(oracle.rehearse(rows)) for rows in oracle.batches())
        first = oracle.rehearse(train_rows[:1]).tokens
        numbers = int(oracle.lengths.max()) * first.values.shape[-1]
        known = self._standard(oracle.rehearse(train_rows[: min(MOST, max(MOST_NUMBERS // numbers, 2))]))
        assert known.source is not None
        self.discriminant = _discriminant(known.values, known.source, known.offsets)
        network = _Matcher(known.values.shape[1], known.source.shape[1], self.width, self.layers)
        self.network = network.to(known.values.device)

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
        if seen.tokens.source is not None:
            return seen
        parts = [seen.select(rows) for rows in torch.arange(len(seen)).split(256)]
        source = torch.cat([assigned(self.scores(part), part.tokens) for part in parts])
        if self.in_place:  # in order and none missing: nothing to find out
            complete, places = _complete(seen.tokens, source)
            source[complete] = places
        return replace(seen, tokens=replace(seen.tokens, source=source))

    def _told_of(self, seen: Observation) -> Observation:
        """What the network is given of each token, in place of its values."""
        tokens = self._standard(seen)
        return replace(seen, tokens=tokens.with_values(self._told(tokens)), symbols=seen.symbols[:, :0])

    def _standard(self, seen: Observation) -> TokenBatch:
        return seen.tokens.with_values((self._features(seen) - self.mean) / self.scale)

    def _features(self, seen: Observation) -> Tensor:
        """`token_features`, and a token's rank among those of its image where the order that they come in means it."""
        features = token_features(seen)
        if not self.ordered:
            return features
        tokens = seen.tokens
        rank = tokens.rank.to(features.device)
        last = (tokens.lengths - 1).clamp_min(1).to(features.device)[tokens.image_of_token]
        return torch.cat([features, rank[:, None].float(), (rank / last)[:, None]], 1)

    def _told(self, tokens: TokenBatch) -> Tensor:
        """``[T, f + P]``: features, and what they tell of each position; a place that is known leaves no doubt."""
        slopes, offsets = self.discriminant
        told = tokens.values @ slopes + offsets
        if tokens.places is not None:
            own = tokens.places[:, None] - tokens.prefix == torch.arange(told.shape[1], device=told.device)
            told = told + 2 * MOST_TOLD * own
        return torch.cat([tokens.values, told], 1)

    def _scores(self, tokens: TokenBatch) -> Tensor:
        with precision.fast(tokens.values.device):
            return self.network(*tokens.padded(), tokens.prefix).float()


def _complete(tokens: TokenBatch, source: Tensor) -> tuple[Tensor, Tensor]:
    """``[B]``, which images have as many tokens as patches, and the map ``[P]`` if these stand in their places."""
    first, last = tokens.prefix, tokens.prefix + source.shape[1]
    return (tokens.lengths == last).to(source.device), torch.arange(first, last, device=source.device)


def _in_place(seen: Iterable[Observation]) -> bool:
    """Whether every image that has as many tokens as patches has them in their places, and there is one."""
    found = False
    for part in seen:
        assert part.tokens.source is not None
        complete, places = _complete(part.tokens, part.tokens.source)
        if not bool((part.tokens.source[complete] == places).all()):
            return False
        found = found or bool(complete.any())
    return found


def _discriminant(features: Tensor, source: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Slopes ``[f, P]`` and offsets ``[P]`` of how likely a token is to be the one in which a patch ended.

    Args:
        features: ``[T, f]``, of tokens.
        source: ``[B, P]``, the merge map.
        offsets: ``[B]``, each image's first token.
    """
    arrived = source != NOWHERE
    rows = source.clamp_min(0) + offsets.to(source.device)[:, None]
    means, scatter = [], features.new_zeros(features.shape[1], features.shape[1])
    for patch in range(source.shape[1]):
        own = features[rows[arrived[:, patch], patch]]
        means.append(own.mean(0) if len(own) else features.mean(0))
        scatter += (own - means[-1]).T @ (own - means[-1])
    centres, covariance = torch.stack(means), scatter / arrived.sum().clamp_min(1)
    strength = DAMPING * covariance.diagonal().mean() + 1e-6
    slopes = torch.linalg.solve(covariance + strength * torch.eye(len(covariance), device=features.device), centres.T)
    return slopes, -(centres * slopes.T).sum(1) / 2


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
        told = (told - told.mean(-1, keepdim=True)).clamp(-MOST_TOLD, MOST_TOLD)
        x = self.embed(torch.cat([tokens[..., : -self.patches], told / 10], -1))
        for block in self.blocks:
            x = block(x, mask=mask)
        scores = (self.trust * told + self.out(self.norm(x))).transpose(1, 2)
        allowed = mask.clone()
        allowed[:, :prefix] = False  # a protected token holds no patch
        return scores.masked_fill(~allowed[:, None], FORBIDDEN)
