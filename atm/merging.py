"""The matching and the merge, nothing else (arXiv 2509.09955; fixed ratio: ToMe, arXiv 2210.09461).

Protected tokens stay. The others alternate between sources and destinations; each source looks for its most similar
destination, and where the similarity is high enough it merges into it. Every image is matched on its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from atm.policy import Average
from atm.tokens import TokenBatch


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
        """Those that a boolean mask ``[S]`` or an index selects."""
        return Matches(self.source[keep], self.destination[keep], self.similarity[keep], self.image[keep])


def match(tokens: TokenBatch, metric: Tensor) -> Matches:
    """The best destination of every source, image by image.

    Args:
        tokens: whose lengths and number of protected tokens say what may merge with what.
        metric: ``[T, m]`` float, the vectors that are compared by their cosine.
    """
    unit = normalize(metric.detach(), dim=-1)
    if tokens.uniform:
        return _match_uniform(tokens, unit)
    return _match_padded(tokens, unit) if unit.device.type != "cpu" else _match_each(tokens, unit)


def _match_each(tokens: TokenBatch, unit: Tensor) -> Matches:
    """One product per image: the least work, for where a call costs little."""
    best, choice = [], []
    for own in unit.split(tokens.counts):
        if len(own) > tokens.prefix + 1:
            similarity, nearest = (own[tokens.prefix :: 2] @ own[tokens.prefix + 1 :: 2].T).max(-1)
            best.append(similarity)
            choice.append(nearest)
    if not best:
        return _no_matches(unit)
    source, image, first_destination = _sources(tokens)
    return Matches(source, first_destination + 2 * torch.cat(choice), torch.cat(best), image)


def _match_padded(tokens: TokenBatch, unit: Tensor) -> Matches:
    """All images in one product, padded to the longest: the fewest calls, for where a call is a launch."""
    grid, real = tokens.with_values(unit).padded()
    free, real = grid[:, tokens.prefix :], real[:, tokens.prefix :]
    if free.shape[1] < 2:
        return _no_matches(unit)
    similarity = free[:, ::2] @ free[:, 1::2].transpose(1, 2)
    best, choice = similarity.masked_fill(~real[:, None, 1::2], -torch.inf).max(-1)
    source, image, first_destination = _sources(tokens)
    row = (source - first_destination + 1) // 2 + image * best.shape[1]
    return Matches(source, first_destination + 2 * choice.flatten()[row], best.flatten()[row], image)


def _sources(tokens: TokenBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Row and image of every source that has a destination to choose from, and the first destination's row."""
    free = tokens.lengths - tokens.prefix
    number = torch.where(free > 1, (free + 1) // 2, 0)
    image = torch.repeat_interleave(torch.arange(len(tokens)), number)
    within = torch.arange(len(image)) - (torch.cumsum(number, 0) - number)[image]
    first = tokens.offsets[image] + tokens.prefix
    device = tokens.values.device
    return (first + 2 * within).to(device), image.to(device), (first + 1).to(device)


def _no_matches(unit: Tensor) -> Matches:
    none = torch.empty(0, dtype=torch.long, device=unit.device)
    return Matches(none, none, unit.new_empty(0), none)


def _match_uniform(tokens: TokenBatch, unit: Tensor) -> Matches:
    """The same for images of equal length, in one batched product."""
    batch, count, prefix = len(tokens), tokens.counts[0] if tokens.counts else 0, tokens.prefix
    if count - prefix < 2:
        return _no_matches(unit)
    grid = unit.view(batch, count, -1)[:, prefix:]
    best, choice = (grid[:, ::2] @ grid[:, 1::2].transpose(1, 2)).max(-1)
    begin = torch.arange(batch, device=unit.device)[:, None] * count + prefix
    source = begin + torch.arange(0, count - prefix, 2, device=unit.device)
    image = torch.arange(batch, device=unit.device)[:, None].expand_as(choice)
    return Matches(source.flatten(), (begin + 1 + 2 * choice).flatten(), best.flatten(), image.flatten())


def above(matches: Matches, threshold: float) -> Matches:
    """The matches whose similarity exceeds the threshold."""
    return matches.where(matches.similarity > threshold)


def most_similar(tokens: TokenBatch, matches: Matches, count: int) -> Matches:
    """ToMe's choice: in each image the ``count`` most similar matches, but never more than half its free tokens."""
    order = torch.argsort(matches.similarity, descending=True, stable=True)
    order = order[torch.argsort(matches.image[order], stable=True)]  # by image, best first
    image = matches.image[order]
    per_image = torch.bincount(image, minlength=len(tokens))
    rank = torch.arange(len(image), device=image.device) - (torch.cumsum(per_image, 0) - per_image)[image]
    limit = ((tokens.lengths - tokens.prefix) // 2).clamp(max=count).to(image.device)
    return matches.where(order[rank < limit[image]])


def merge(tokens: TokenBatch, matches: Matches, average: Average = "norm") -> TokenBatch:
    """Merge each matched source into its destination.

    ``x_j <- sum_k w_k x_k / sum_k w_k`` over j and all k that merge into it; ``w`` are the norms of the hidden states
    (the paper), the sizes (ToMe) or ones. Tokens that take no part keep their bits. Differentiable in ``tokens.values``
    for a fixed matching.

    Raises:
        ValueError: ``tokens`` without sizes or merge map; only their owner can merge.
    """
    if tokens.sizes is None or tokens.source is None:
        raise ValueError("merging needs the sizes and the merge map of the tokens")
    if len(matches.source) == 0:
        return tokens
    x, device = tokens.values, tokens.values.device
    weight = _weights(x, tokens.sizes, average)
    total = weight.index_add(0, matches.destination, weight[matches.source])

    survives = torch.ones(len(x), dtype=torch.bool, device=device)
    survives[matches.source] = False
    new_row = torch.cumsum(survives, 0) - 1
    new_row[matches.source] = new_row[matches.destination]
    kept = survives.nonzero().squeeze(1)

    # x_j + sum_k (w_k / W_j) (x_k - x_j) touches only what merges.
    share = weight[matches.source] / total[matches.destination]
    pull = share[:, None] * (x[matches.source] - x[matches.destination])
    rows = new_row[matches.source]
    lost = torch.bincount(matches.image, minlength=len(tokens)).cpu()
    lengths = tokens.lengths - lost
    begin, new_begin = tokens.offsets.to(device), (torch.cumsum(lengths, 0) - lengths).to(device)
    return replace(
        tokens,
        values=_add_rows(x[kept], rows, pull),
        lengths=lengths,
        sizes=_add_rows(tokens.sizes[kept], rows, tokens.sizes[matches.source]),
        source=new_row[tokens.source + begin[:, None]] - new_begin[:, None],
        places=None if tokens.places is None else tokens.places[kept],
    )


def _add_rows(x: Tensor, rows: Tensor, added: Tensor) -> Tensor:
    """``x`` with rows added; ``x`` is a fresh copy of ours, so without a gradient to keep it is written in place."""
    return x.index_add(0, rows, added) if x.requires_grad else x.index_add_(0, rows, added)


def _weights(x: Tensor, sizes: Tensor, average: Average) -> Tensor:
    if average == "norm":
        return x.norm(dim=-1).clamp_min(torch.finfo(x.dtype).tiny)
    return sizes.to(x.dtype) if average == "size" else torch.ones_like(sizes, dtype=x.dtype)
