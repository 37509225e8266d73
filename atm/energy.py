"""PiToMe's matching (NeurIPS 2024, arXiv 2405.16148): tokens of uniform areas merge, informative ones are spared.

A token's energy says how many others are like it. In each image the tokens of most energy alternate between sources and
destinations in the order of their energies; all others are protected. It is a baseline with a fixed number of merges.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from atm.merging import Matches
from atm.tokens import TokenBatch

STEEPNESS = 1.0  # alpha of equation 4
WIDEST = 0.9  # the margin before the first layer; it falls to 0 behind the last


def margin(layer: int, depth: int) -> float:
    """The cosine from which on two tokens count as alike at a layer, from 0."""
    return WIDEST * (1 - layer / depth)


def energies(cosines: Tensor, least: float) -> Tensor:
    """``[n]``: the mean over all tokens of the cosine where it reaches a margin, and of less than 0 where it does not.

    Args:
        cosines: ``[n, n]`` between the tokens of an image.
        least: the margin.
    """
    unlike = STEEPNESS * (torch.exp(cosines - least) - 1)
    return torch.where(cosines >= least, cosines, unlike).mean(-1)


def match(tokens: TokenBatch, metric: Tensor, count: int, least: float) -> Matches:
    """In each image ``count`` merges, at most half its free tokens: sources with their best destinations.

    Args:
        tokens: whose lengths and number of protected tokens say what may merge with what.
        metric: ``[T, m]`` float, the vectors that are compared by their cosine.
        count: merges per image.
        least: the margin, see `margin`.
    """
    unit = normalize(metric.detach(), dim=-1)
    sources, destinations, similarities, images = [], [], [], []
    for image, own in enumerate(unit.split(tokens.counts)):
        free = own[tokens.prefix :]
        merges = min(count, len(free) // 2)
        if merges > 0:
            cosines = free @ free.T
            ranked = torch.argsort(energies(cosines, least), descending=True, stable=True)[: 2 * merges]
            best, choice = cosines[ranked[0::2]][:, ranked[1::2]].max(-1)
            first = int(tokens.offsets[image]) + tokens.prefix
            sources.append(first + ranked[0::2])
            destinations.append(first + ranked[1::2][choice])
            similarities.append(best)
            images.append(torch.full_like(choice, image))
    if not sources:
        none = torch.empty(0, dtype=torch.long, device=unit.device)
        return Matches(none, none, unit.new_empty(0), none)
    return Matches(torch.cat(sources), torch.cat(destinations), torch.cat(similarities), torch.cat(images))
