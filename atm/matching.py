"""Which vectors a policy compares at a layer, and what of the tokens it merges there."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from atm import energy, merging
from atm.policy import MergePolicy
from atm.tokens import TokenBatch


class Projected(NamedTuple):
    """What of a layer's attention a matching may look at.

    Attributes:
        normed: ``[T, d]``, its input.
        keys: ``[T, heads, h]``, as projected: before norm and rotation.
        values: ``[T, heads, h]``, likewise.
    """

    normed: Tensor
    keys: Tensor
    values: Tensor


def metric(policy: MergePolicy, layer: int, tokens: TokenBatch, projected: Projected) -> Tensor:
    """The vectors ``[T, m]`` whose cosines decide what merges; keys are averaged over the heads, as in ToMe."""
    if policy.maps is not None:
        return policy.maps.apply(layer, projected.normed)
    if policy.match == "hidden":
        return tokens.values
    return projected.keys.mean(1) if policy.match == "key" else projected.values.flatten(1)


def merged(tokens: TokenBatch, projected: Projected, policy: MergePolicy, layer: int) -> TokenBatch:
    """The tokens after a layer's attention, as its policy merges them."""
    compared = metric(policy, layer, tokens, projected)
    if policy.order == "energy":
        matches = energy.match(tokens, compared, policy.remove[layer], energy.margin(layer, policy.depth))
        return merging.merge(tokens, matches, policy.average)
    matches = merging.match(tokens, compared, policy.order, policy.similarity)
    if policy.remove:
        matches = merging.most_similar(tokens, matches, policy.remove[layer])
    else:
        matches = merging.above(matches, policy.thresholds[layer])
    return merging.merge(tokens, matches, policy.average, policy.order)
