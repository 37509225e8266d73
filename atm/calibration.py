"""Policies that hit a wanted saving: one threshold per layer, chosen on pictures.

Similarities differ from layer to layer and from model to model, and with random weights they mean nothing; so a
threshold is not guessed but read off: at each layer it is the quantile of the similarities at which the wanted part of
the tokens merges.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from atm import merging
from atm.encoder import Encoder, merging_metric
from atm.errors import AtmError
from atm.policy import MergePolicy


@torch.no_grad()
def policy_saving(encoder: Encoder, images: Tensor, saved: float, **options: Any) -> MergePolicy:
    """A threshold policy that saves a part of the encoder's FLOPs, merging the same part of the tokens at every layer.

    Args:
        encoder: the victim.
        images: ``[B, ...]`` as the victim takes them, what the thresholds are chosen on; a few dozen are enough.
        saved: part of the unmerged FLOPs, in [0, 1).
        options: of the policy, such as ``match``.

    Raises:
        AtmError: more than merging half of the unprotected tokens at every layer would save.
    """
    tokens = encoder.start(images)
    fraction = _fraction(encoder, round(float(tokens.lengths.double().mean())), saved)
    thresholds = [1.0] * encoder.depth
    for layer in range(encoder.depth):
        policy = MergePolicy(tuple(thresholds), **options)
        tokens, keys, values = encoder.mix(tokens, policy, layer)
        metric = merging_metric(policy.match, tokens, keys, values)
        matches = merging.match(tokens, metric, policy.order, policy.similarity)
        wanted = round(fraction * len(tokens.values))
        if wanted > 0 and len(matches.similarity):
            ranked = matches.similarity.sort(descending=True).values
            thresholds[layer] = min(1.0, max(0.0, float(ranked[min(wanted, len(ranked) - 1)])))
            tokens = merging.merge(tokens, merging.above(matches, thresholds[layer]), policy.average, policy.order)
        tokens = encoder.transform(tokens, layer)
    return MergePolicy(tuple(thresholds), **options, name=f"saves-{saved:.0%}")


def fixed_ratio_like(encoder: Encoder, layer_tokens: Tensor) -> MergePolicy:
    """ToMe's policy with the same mean number of tokens at every layer.

    Args:
        encoder: the victim.
        layer_tokens: ``[layers + 1, B]``, what another policy left (`atm.encoder.Encoded`).
    """
    mean = layer_tokens.double().mean(1).round().long()
    removed = tuple((mean[:-1] - mean[1:]).tolist())
    return replace(MergePolicy.fixed_ratio(1, encoder.depth), remove=removed, name="tome-like")


def _fraction(encoder: Encoder, count: int, saved: float) -> float:
    """The part of the tokens that has to go at every layer for a wanted saving."""

    def saving(fraction: float) -> float:
        kept = count * (1 - fraction) ** torch.arange(encoder.depth + 1, dtype=torch.float64)
        dense = encoder.flops(torch.full((encoder.depth + 1, 1), count), MergePolicy.uniform(1.0, encoder.depth))
        return 1 - float(encoder.flops(kept[:, None], MergePolicy.uniform(0.0, encoder.depth)) / dense)

    low, high = 0.0, 0.5
    if not 0 <= saved < saving(high):
        raise AtmError(
            f"cannot save {saved:.0%} of the FLOPs; the most that merging can save here is {saving(high):.0%}"
        )
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if saving(middle) > saved else (middle, high)
    return low if saved else 0.0
