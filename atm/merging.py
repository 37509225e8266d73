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
    sources, destinations, similarities, images = [], [], [], []
    begin = 0
    for image, count in enumerate(tokens.counts):
        first, end = begin + tokens.prefix, begin + count
        if end - first > 1:
            best, choice = (unit[first:end:2] @ unit[first + 1 : end : 2].T).max(-1)
            sources.append(torch.arange(first, end, 2))
            destinations.append(first + 1 + 2 * choice)
            similarities.append(best)
            images.append(torch.full((len(best),), image))
        begin = end
    if not sources:
        none = torch.empty(0, dtype=torch.long, device=unit.device)
        return Matches(none, none, unit.new_empty(0), none)
    device = unit.device
    return Matches(
        torch.cat(sources).to(device), torch.cat(destinations), torch.cat(similarities), torch.cat(images).to(device)
    )


def _match_uniform(tokens: TokenBatch, unit: Tensor) -> Matches:
    """The same for images of equal length, in one batched product."""
    batch, count, prefix = len(tokens), tokens.counts[0] if tokens.counts else 0, tokens.prefix
    if count - prefix < 2:
        none = torch.empty(0, dtype=torch.long, device=unit.device)
        return Matches(none, none, unit.new_empty(0), none)
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

    # x_j + sum_k (w_k / W_j) (x_k - x_j) touches only what merges.
    share = weight[matches.source] / total[matches.destination]
    pull = share[:, None] * (x[matches.source] - x[matches.destination])
    rows = new_row[matches.source]
    lost = torch.bincount(matches.image, minlength=len(tokens)).cpu()
    lengths = tokens.lengths - lost
    begin, new_begin = tokens.offsets.to(device), (torch.cumsum(lengths, 0) - lengths).to(device)
    return replace(
        tokens,
        values=x[survives].index_add(0, rows, pull),
        lengths=lengths,
        sizes=tokens.sizes[survives].index_add(0, rows, tokens.sizes[matches.source]),
        source=new_row[tokens.source + begin[:, None]] - new_begin[:, None],
    )


def _weights(x: Tensor, sizes: Tensor, average: Average) -> Tensor:
    if average == "norm":
        return x.norm(dim=-1).clamp_min(torch.finfo(x.dtype).tiny)
    return sizes.to(x.dtype) if average == "size" else torch.ones_like(sizes, dtype=x.dtype)
