"""The matching and the merge, nothing else (arXiv 2509.09955; fixed ratio: ToMe, arXiv 2210.09461).

Protected tokens stay. The others alternate between sources and destinations; each source looks for its most similar
destination, and where the similarity is high enough it merges into it. Every image is matched on its own.

In the order ``tome`` the alternation begins with the first protected token, and after a merge what is left of the
sources comes before the destinations, as in ToMe's own code: so others meet in the next layer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from atm.policy import Average, Order, Similarity
from atm.tokens import NOWHERE, TokenBatch

CALL = 1e6  # multiplications that a CPU does in the time that the calls of one image's matching take
OTHERS = -2.0  # in place of the similarity with a token of another group


@dataclass(frozen=True)
class Matches:
    """For each source token its best destination.

    Attributes:
        source: ``[S]`` int64, rows of the packed tokens that may merge.
        destination: ``[S]`` int64, the row that each would merge into.
        similarity: ``[S]`` float, their cosine.
        image: ``[S]`` int64, the image that they belong to.
    """

    source: Tensor
    destination: Tensor
    similarity: Tensor
    image: Tensor

    def where(self, keep: Tensor) -> Matches:
        """Those that an index selects."""
        return Matches(self.source[keep], self.destination[keep], self.similarity[keep], self.image[keep])


def match(
    tokens: TokenBatch,
    metric: Tensor,
    order: Order = "place",
    similarity: Similarity = "cosine",
    groups: Tensor | None = None,
) -> Matches:
    """The best destination of every source, image by image.

    Args:
        tokens: whose lengths and number of protected tokens say what may merge with what.
        metric: ``[T, m]`` float, the vectors that are compared by their cosine.
        order: in which sources and destinations alternate.
        similarity: the cosine c, or 1 - 2 n_i n_j / (n_i + n_j) (1 - c) of tokens that stand for n_i and n_j patches
            (size-aware, arXiv 2505.15160): the same for single patches, and less for large tokens.
        groups: ``[T]`` int64; a destination of a token's own group is taken where there is one. None is one group.

    Raises:
        ValueError: size-aware, of ``tokens`` without sizes.
    """
    unit = normalize(metric.detach(), dim=-1)
    sizes = None
    if similarity == "size-aware":
        if tokens.sizes is None:
            raise ValueError("size-aware matching needs the sizes of the tokens")
        sizes = tokens.sizes.to(unit.dtype)
    lead = tokens.prefix % 2 if order == "tome" else 0
    if groups is not None:
        return _match_padded(tokens, unit, sizes, lead, groups)
    if tokens.uniform:
        return _match_uniform(tokens, unit, sizes, lead)
    return (_match_padded if _pads(tokens, unit) else _match_each)(tokens, unit, sizes, lead)


def _pads(tokens: TokenBatch, unit: Tensor) -> bool:
    """Whether one product of all images, filled up to the longest, costs less than the calls of one for each."""
    if unit.device.type != "cpu":
        return True
    free = [count - tokens.prefix for count in tokens.counts]
    filled = (len(free) * max(free) ** 2 - sum(count * count for count in free)) / 4
    return filled * unit.shape[1] < CALL * len(free)


def _compared(sources: Tensor, destinations: Tensor, sizes: tuple[Tensor, Tensor] | None) -> Tensor:
    """``[..., s, d]`` similarities of unit vectors, discounted by sizes ``[..., s]`` and ``[..., d]`` where given."""
    cosine = sources @ destinations.transpose(-1, -2)
    if sizes is None:
        return cosine
    one, other = sizes[0].unsqueeze(-1), sizes[1].unsqueeze(-2)
    return 1 - 2 * one * other / (one + other).clamp_min(1) * (1 - cosine)


def _match_each(tokens: TokenBatch, unit: Tensor, sizes: Tensor | None, lead: int) -> Matches:
    """One product per image: the least work, for where a call costs little."""
    best, choice = [], []
    one, other = slice(tokens.prefix + lead, None, 2), slice(tokens.prefix + 1 - lead, None, 2)
    weights = [None] * len(tokens) if sizes is None else sizes.split(tokens.counts)
    for own, weight in zip(unit.split(tokens.counts), weights, strict=True):
        if len(own) > tokens.prefix + 1:
            pair = None if weight is None else (weight[one], weight[other])
            found, nearest = _compared(own[one], own[other], pair).max(-1)
            best.append(found)
            choice.append(nearest)
    if not best:
        return _no_matches(unit)
    source, image, first, _ = _sources(tokens, lead)
    return Matches(source, first + 2 * torch.cat(choice), torch.cat(best), image)


def _match_padded(
    tokens: TokenBatch, unit: Tensor, sizes: Tensor | None, lead: int, groups: Tensor | None = None
) -> Matches:
    """All images in one product, padded to the longest: the fewest calls, for where a call is a launch."""
    grid, real = tokens.with_values(unit).padded()
    free, real = grid[:, tokens.prefix :], real[:, tokens.prefix :]
    if free.shape[1] < 2:
        return _no_matches(unit)
    pair = None
    if sizes is not None:
        weight = tokens.with_values(sizes[:, None]).padded()[0].squeeze(-1)[:, tokens.prefix :]
        pair = weight[:, lead::2], weight[:, 1 - lead :: 2]
    found = _compared(free[:, lead::2], free[:, 1 - lead :: 2], pair)
    if groups is not None:
        own = tokens.with_values(groups[:, None]).padded()[0].squeeze(-1)[:, tokens.prefix :]
        found = found.masked_fill(own[:, lead::2, None] != own[:, None, 1 - lead :: 2], OTHERS)
    best, choice = found.masked_fill(~real[:, None, 1 - lead :: 2], -torch.inf).max(-1)
    source, image, first, number = _sources(tokens, lead)
    row = number + image * best.shape[1]
    return Matches(source, first + 2 * choice.flatten()[row], best.flatten()[row], image)


def _sources(tokens: TokenBatch, lead: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of every source that has a destination to choose from: row, image, the first destination's row, and its number
    among its image's sources.
    """
    free = tokens.lengths - tokens.prefix
    count = torch.where(free > 1, (free + 1 - lead) // 2, 0)
    image = torch.repeat_interleave(torch.arange(len(tokens)), count)
    within = torch.arange(len(image)) - (torch.cumsum(count, 0) - count)[image]
    first = tokens.offsets[image] + tokens.prefix
    found = (first + lead + 2 * within, image, first + 1 - lead, within)
    return tuple(part.to(tokens.values.device) for part in found)  # type: ignore[return-value]


def _no_matches(unit: Tensor) -> Matches:
    none = torch.empty(0, dtype=torch.long, device=unit.device)
    return Matches(none, none, unit.new_empty(0), none)


def _match_uniform(tokens: TokenBatch, unit: Tensor, sizes: Tensor | None, lead: int) -> Matches:
    """The same for images of equal length, in one batched product."""
    batch, count, prefix = len(tokens), tokens.counts[0] if tokens.counts else 0, tokens.prefix
    traced = not isinstance(count, int)  # `torch.export` runs this, and only a run will know how many there are
    if not traced and count - prefix < 2:
        return _no_matches(unit)
    grid = (unit[None] if batch == 1 else unit.view(batch, count, -1))[:, prefix:]
    pair = None
    if sizes is not None:
        weight = sizes.view(batch, count)[:, prefix:]
        pair = weight[:, lead::2], weight[:, 1 - lead :: 2]
    found = _compared(grid[:, lead::2], grid[:, 1 - lead :: 2], pair)
    if traced:  # one more destination, which nothing resembles, for where there is none
        found = torch.nn.functional.pad(found, (0, 1), value=-torch.inf)
    best, choice = found.max(-1)
    begin = torch.arange(batch, device=unit.device)[:, None] * count + prefix
    source = begin + torch.arange(lead, count - prefix, 2, device=unit.device)
    image = torch.arange(batch, device=unit.device)[:, None].expand_as(choice)
    return Matches(source.flatten(), (begin + 1 - lead + 2 * choice).flatten(), best.flatten(), image.flatten())


def above(matches: Matches, threshold: float) -> Matches:
    """The matches whose similarity exceeds the threshold."""
    return matches.where((matches.similarity > threshold).nonzero().squeeze(1))  # found once, not once a field


def most_similar(tokens: TokenBatch, matches: Matches, count: int) -> Matches:
    """ToMe's choice: in each image the ``count`` most similar matches, but never more than half its free tokens."""
    order = torch.argsort(matches.similarity, descending=True, stable=True)
    order = order[torch.argsort(matches.image[order], stable=True)]  # by image, best first
    image = matches.image[order]
    per_image = torch.bincount(image, minlength=len(tokens))
    rank = torch.arange(len(image), device=image.device) - (torch.cumsum(per_image, 0) - per_image)[image]
    limit = ((tokens.lengths - tokens.prefix) // 2).clamp(max=count).to(image.device)
    return matches.where(order[rank < limit[image]])


def merge(tokens: TokenBatch, matches: Matches, average: Average = "norm", order: Order = "place") -> TokenBatch:
    """Merge each matched source into its destination.

    ``x_j <- sum_k w_k x_k / sum_k w_k`` over j and all k that merge into it; ``w`` are the norms of the hidden states
    (the paper), the sizes (ToMe) or ones. Tokens that take no part keep their bits. Differentiable in ``tokens.values``
    for a fixed matching.

    Args:
        tokens: what merges.
        matches: which of them.
        average: the weights.
        order: of the tokens that are left; ``tome`` is of those that were matched in that order.

    Raises:
        ValueError: ``tokens`` without sizes or merge map; only their owner can merge.
    """
    if tokens.sizes is None or tokens.source is None:
        raise ValueError("merging needs the sizes and the merge map of the tokens")
    if isinstance(matches.source.shape[0], int) and len(matches.source) == 0:  # else traced, see `_match_uniform`
        return tokens
    x, device = tokens.values, tokens.values.device
    weight = _weights(x, tokens.sizes, average)
    total = weight.index_add(0, matches.destination, weight[matches.source])

    survives = torch.ones_like(weight, dtype=torch.bool)
    survives[matches.source] = False
    new_row = torch.cumsum(survives, 0) - 1
    new_row[matches.source] = new_row[matches.destination]
    kept = survives.nonzero().squeeze(1)

    # x_j + sum_k (w_k / W_j) (x_k - x_j) touches only what merges.
    share = weight[matches.source] / total[matches.destination]
    pull = share[:, None] * (x[matches.source] - x[matches.destination])
    rows = new_row[matches.source]
    none = torch.zeros(len(tokens), dtype=torch.long, device=device)
    lost = none.index_add(0, matches.image, torch.ones_like(matches.image)).cpu()
    lengths = tokens.lengths - lost
    begin, new_begin = tokens.offsets.to(device), (torch.cumsum(lengths, 0) - lengths).to(device)
    arrived = tokens.source != NOWHERE  # a place that no word took
    merged = replace(
        tokens,
        values=_add_rows(x[kept], rows, pull),
        lengths=lengths,
        sizes=_add_rows(tokens.sizes[kept], rows, tokens.sizes[matches.source]),
        source=torch.where(arrived, new_row[tokens.source.clamp_min(0) + begin[:, None]] - new_begin[:, None], NOWHERE),
        places=None if tokens.places is None else tokens.places[kept],
    )
    if order != "tome":
        return merged
    # Sources are even, see `match`; an image in which nothing merges stays as it is, whatever others do.
    destination = (tokens.rank[kept.cpu()] % 2).double() * torch.repeat_interleave(lost > 0, lengths)
    return merged.rearranged(merged.ordered_by(destination).to(device), lengths)


def _add_rows(x: Tensor, rows: Tensor, added: Tensor) -> Tensor:
    """``x`` with rows added; ``x`` is a fresh copy of ours, so without a gradient to keep it is written in place."""
    return x.index_add(0, rows, added) if x.requires_grad else x.index_add_(0, rows, added)


def _weights(x: Tensor, sizes: Tensor, average: Average) -> Tensor:
    if average == "norm":
        return x.norm(dim=-1).clamp_min(torch.finfo(x.dtype).tiny)
    return sizes.to(x.dtype) if average == "size" else torch.ones_like(sizes, dtype=x.dtype)
