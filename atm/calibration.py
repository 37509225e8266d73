"""Policies that hit a wanted saving: one threshold per layer, chosen on pictures.

Similarities differ from layer to layer and from model to model, and with random weights they mean nothing; so a
threshold is not guessed but read off: at each layer it is the quantile of the similarities at which the wanted part of
the tokens merges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from atm import matching, merging
from atm.encoder import Encoded, Encoder
from atm.errors import AtmError
from atm.policy import MergePolicy

HALVINGS = 12  # of the shifts from -1 to 1: to half a thousandth


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
        tokens, projected = encoder.mix(tokens, policy, layer)
        metric = matching.metric(policy, layer, tokens, projected)
        matches = merging.match(tokens, metric, policy.order, policy.similarity)
        wanted = round(fraction * len(tokens.values))
        if wanted > 0 and len(matches.similarity):
            ranked = matches.similarity.sort(descending=True).values
            thresholds[layer] = min(1.0, max(0.0, float(ranked[min(wanted, len(ranked) - 1)])))
            tokens = merging.merge(tokens, merging.above(matches, thresholds[layer]), policy.average, policy.order)
        tokens = encoder.transform(tokens, layer)
    return MergePolicy(tuple(thresholds), **options, name=f"saves-{saved:.0%}")


@torch.no_grad()
def shifted(encoder: Encoder, images: Tensor, policy: MergePolicy, spend: float) -> MergePolicy:
    """The policy with all its thresholds moved by the same, so that it spends a part of the device's FLOPs.

    Args:
        encoder: the victim.
        images: ``[B, C, H, W]`` in [0, 1], on which FLOPs are counted.
        policy: with thresholds; its exit says which layers are the device's.
        spend: part of the unmerged FLOPs.
    """
    dense = MergePolicy.uniform(1.0, encoder.depth, exit_layer=policy.exit_layer)
    whole = float(encoder.flops(encoder(images[:1], dense).layer_tokens, dense))
    return moved(encoder, images, policy, lambda encoded: float(encoded.flops.mean()) / whole, spend)


def moved(
    encoder: Encoder, images: Tensor, policy: MergePolicy, measure: Callable[[Encoded], float], wanted: float
) -> MergePolicy:
    """The policy with all its thresholds moved by the same, so that something that rises with them is as wanted.

    A threshold of 1 stays, since its layer merges nothing. Where no shift is enough, it goes as far as it can.
    """

    def by(shift: float) -> MergePolicy:
        thresholds = (t if t == 1 else min(max(t + shift, 0.0), 1.0) for t in policy.thresholds)
        return replace(policy, thresholds=tuple(thresholds))

    low, high = -1.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if measure(encoder(images, by(middle))) < wanted else (low, middle)
    return by(low)


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
