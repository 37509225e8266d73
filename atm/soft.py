"""Merging with gradients: what is decided is hard on the way there, and soft on the way back.

Nothing is dropped: every token stays in its place with a mass, 1 or 0, by which attention counts it (LTMP, arXiv
2307.10780). A source goes to its destinations by a softmax over their cosines (DTEM, arXiv 2412.10569), if a sigmoid of
the best cosine above the threshold says so. Straight-through, values are those of `atm.encoder` under the same policy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from atm import families
from atm.encoder import Encoder
from atm.matching import Projected
from atm.policy import Average, MergePolicy
from atm.tokens import TokenBatch

LEAST = 1e-9  # mass that attention gives a token that is gone, so that there is a gradient
NEVER = -1e4  # a cosine with what is no destination

Metric = Callable[[int, TokenBatch, Projected], Tensor]
"""From a layer, its tokens after attention and what the attention projected to the vectors ``[T, m]`` compared."""


@dataclass(frozen=True)
class Softness:
    """How soft decisions are.

    Attributes:
        merge: temperature of whether a source merges.
        choice: temperature of which destination it takes.
        straight: whether values are of hard decisions, and only gradients of soft ones.
    """

    merge: float = 0.1
    choice: float = 0.1
    straight: bool = True


@dataclass(frozen=True)
class SoftTokens:
    """Tokens of ``B`` images in their places, none of them dropped.

    Attributes:
        values: ``[B, n, d]``.
        mass: ``[B, n]``, how much of each is left, in [0, 1].
        sizes: ``[B, n]``, how many patches each stands for.
        prefix: protected tokens, which stand first.
        places: ``[B * n]``, as `TokenBatch` has them.
        source: ``[B, P, n]``, how much of each patch is in each token; None where nobody asks.
    """

    values: Tensor
    mass: Tensor
    sizes: Tensor
    prefix: int
    places: Tensor | None = None
    source: Tensor | None = None

    @classmethod
    def of(cls, tokens: TokenBatch, with_map: bool = False) -> SoftTokens:
        """Unmerged tokens."""
        values = tokens.values.view(len(tokens), tokens.counts[0], -1)
        ones = torch.ones_like(values[..., 0])
        source = torch.eye(values.shape[1], device=values.device)[tokens.prefix :].expand(len(values), -1, -1)
        return cls(values, ones, ones, tokens.prefix, tokens.places, source if with_map else None)

    def batch(self, sizes: Tensor) -> TokenBatch:
        """As the encoder takes them, with sizes ``[B, n]`` by which they count."""
        lengths = torch.full((len(self.values),), self.values.shape[1])
        return TokenBatch(self.values.flatten(0, 1), lengths, sizes.flatten(), None, self.prefix, self.places)

    def with_values(self, values: Tensor) -> SoftTokens:
        """The same with other values ``[B * n, d]``."""
        return replace(self, values=values.view_as(self.values))

    def per_patch(self) -> Tensor:
        """``[B, P, d]``: for each patch the token it ended in."""
        assert self.source is not None
        return self.source @ self.values


def assignment(cosines: Tensor, tokens: SoftTokens, threshold: Tensor, softness: Softness) -> Tensor:
    """``[B, n, n]``: how much of each source merges into each destination.

    Sources and destinations alternate among the free tokens that are left, as in `atm.merging.match`.

    Args:
        cosines: ``[B, n, n]``.
        tokens: whose masses say what is left.
        threshold: ``[]``.
        softness: of the decisions.
    """
    count = cosines.shape[-1]
    left = (tokens.mass > 0.5) & (torch.arange(count, device=cosines.device) >= tokens.prefix)
    odd = (left.cumsum(1) - 1) % 2 == 1
    found = cosines.masked_fill(~(left & odd)[:, None, :], NEVER)
    best, nearest = found.max(-1)
    merges = torch.sigmoid((best - threshold) / softness.merge)
    shares = torch.softmax(found / softness.choice, -1)
    if softness.straight:
        merges = _straight((best > threshold).to(merges), merges)
        shares = _straight(one_hot(nearest, count).to(shares), shares)
    return ((left & ~odd) * merges)[..., None] * shares


def merge(tokens: SoftTokens, assigned: Tensor, average: Average) -> SoftTokens:
    """Tokens after their sources went where `assignment` says: the weighted mean of `atm.merging.merge`."""
    x, gone = tokens.values, assigned.sum(-1)
    if average == "norm":
        weight = x.norm(dim=-1).clamp_min(torch.finfo(x.dtype).tiny)
    else:
        weight = tokens.sizes if average == "size" else torch.ones_like(tokens.sizes)
    weight = weight * tokens.mass
    brought = assigned.transpose(1, 2) * weight[:, None, :]
    total = (weight + brought.sum(-1)).clamp_min(LEAST)  # of what is gone it is 0, and its inverse a gradient
    moved = brought @ x - brought.sum(-1)[..., None] * x
    source = tokens.source
    return replace(
        tokens,
        values=x + moved / total[..., None],
        mass=tokens.mass * (1 - gone),
        sizes=tokens.sizes + (assigned.transpose(1, 2) @ (tokens.sizes * tokens.mass)[..., None]).squeeze(-1),
        source=None if source is None else source * (1 - gone)[:, None, :] + source @ assigned,
    )


def run(
    encoder: Encoder,
    images: Tensor,
    policy: MergePolicy,
    thresholds: Tensor,
    metric: Metric,
    softness: Softness = Softness(),
    with_map: bool = False,
) -> tuple[SoftTokens, Tensor]:
    """The device's layers.

    Args:
        encoder: the victim.
        images: ``[B, C, H, W]`` in [0, 1].
        policy: all rules but what is compared with what; its order is of places.
        thresholds: ``[layers]``.
        metric: what is compared.
        softness: of the decisions.
        with_map: whether to keep where each patch ended.

    Returns:
        The tokens at the exit, and ``[layers + 1, B]`` how many were left before each layer and at the exit.
    """
    tokens = SoftTokens.of(encoder.start(images), with_map)
    counts = [tokens.mass.sum(1)]
    for layer in range(policy.device_layers):
        mixed, projected = encoder.mix(*_attentive(tokens, policy), layer)
        tokens = tokens.with_values(mixed.values)
        with torch.autocast(images.device.type, enabled=False):  # cosines crowd together: bfloat16 cannot tell them
            compared = normalize(metric(layer, mixed, projected).float(), dim=-1).view(*tokens.mass.shape, -1)
            assigned = assignment(compared @ compared.transpose(1, 2), tokens, thresholds[layer], softness)
            tokens = merge(tokens, assigned, policy.average)
        tokens = tokens.with_values(encoder.transform(tokens.batch(tokens.sizes), layer).values)
        counts.append(tokens.mass.sum(1))
    return tokens, torch.stack(counts)


def finish(encoder: Encoder, tokens: SoftTokens, policy: MergePolicy) -> Tensor:
    """The server's part: ``[B, classes]`` logits."""
    for layer in range(policy.device_layers, encoder.depth):
        mixed, _ = encoder.mix(*_attentive(tokens, policy), layer)
        tokens = tokens.with_values(encoder.transform(mixed, layer).values)
    return families.head(encoder.vit, tokens.batch(tokens.sizes * _felt(tokens.mass)))


def _attentive(tokens: SoftTokens, policy: MergePolicy) -> tuple[TokenBatch, MergePolicy]:
    """Tokens whose sizes are what attention counts them by, and the policy by which it does."""
    felt = _felt(tokens.mass)
    felt = felt * tokens.sizes if policy.proportional_attention else felt
    return tokens.batch(felt), replace(policy, proportional_attention=True)


def _felt(mass: Tensor) -> Tensor:
    return mass.clamp_min(0.0) * (1 - LEAST) + LEAST


def _straight(hard: Tensor, soft: Tensor) -> Tensor:
    return hard + (soft - soft.detach())  # so that it is hard to the last bit
