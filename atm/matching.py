"""Which vectors a policy compares at a layer, and what of the tokens it merges there."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from atm import compiled, energy, merging
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


def merged(
    tokens: TokenBatch, projected: Projected, policy: MergePolicy, layer: int, groups: Tensor | None = None
) -> TokenBatch:
    """The tokens after a layer's attention, as its policy merges them.

    Args:
        tokens: after attention.
        projected: by it.
        policy: what merges.
        layer: its number.
        groups: ``[T]`` int64; tokens of different ones do not merge. None is one group.
    """
    compared = metric(policy, layer, tokens, projected)
    if policy.order != "energy" and groups is None and compiled.takes(tokens, compared):
        return compiled.merged(tokens, compared, policy, layer)
    if policy.order == "energy":
        matches = energy.match(tokens, compared, policy.remove[layer], energy.margin(layer, policy.depth))
    else:
        matches = merging.match(tokens, compared, policy.order, policy.similarity, groups)
        if policy.remove:
            matches = merging.most_similar(tokens, matches, policy.remove[layer])
        else:
            matches = merging.above(matches, policy.thresholds[layer])
    if groups is not None:
        matches = matches.where(groups[matches.source] == groups[matches.destination])
    return merging.merge(tokens, matches, policy.average, policy.order)
