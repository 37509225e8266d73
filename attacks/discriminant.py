"""What each token tells by itself of where it belongs, in closed form."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from atm.threat import Observation
from atm.tokens import NOWHERE, TokenBatch
from attacks.base import frame_features, mean_and_scale

FORBIDDEN = -1e9  # score of a token that holds no patch
MOST_TOLD = 50.0  # doubt enough, in nats; without noise a token tells its position beyond all doubt
DAMPING = 1e-3  # of the covariance of tokens, relative to its mean eigenvalue


@dataclass(frozen=True)
class Discriminant:
    """Linear discriminant analysis: tokens of one position are Gaussian around its mean, with one covariance for all.

    In half a second it places a third of the unmerged tokens of ``vit_cifar10``.

    Attributes:
        mean: ``[f]``, of the tokens' features.
        scale: ``[f]``, their deviations.
        slopes: ``[f, P]``.
        offsets: ``[P]``.
        ordered: whether the order in which tokens come means something.
        in_place: whether an image that has as many tokens as patches has them in their places.
        per_token: patches for which a token stands in the mean, where a signal need not fill its places and fills the
            first ones; None where all are filled.
        held: ``[f]`` and the constant behind them, of how the logarithm of the patches that a token stands for follows
            from its features; None where every token stands for one.
    """

    mean: Tensor
    scale: Tensor
    slopes: Tensor
    offsets: Tensor
    ordered: bool
    in_place: bool
    per_token: float | None = None
    held: Tensor | None = None

    @classmethod
    def of(
        cls, own: Callable[[], Iterable[Observation]], some: Observation, ordered: bool, fills: bool = True
    ) -> Discriminant:
        """From images whose merge map the adversary has, because she sent them through a device of her own.

        Args:
            own: gives what she sees of all of them, in parts, as often as it is called.
            some: as many of them as the positions' means are taken from.
            ordered: whether she knows the order of the tokens.
            fills: whether every image fills all its places.
        """
        # Asked of her own tokens, because a defence may put them into another order.
        in_place = ordered and _in_place(own(), fills)
        mean, scale = mean_and_scale(_features(part, ordered) for part in own())
        values, source = (_features(some, ordered) - mean) / scale, some.tokens.source
        assert source is not None
        free = int(some.tokens.lengths.sum()) - len(source) * some.tokens.prefix
        per_token = None if fills else int((source != NOWHERE).sum()) / max(free, 1)
        slopes, offsets = _fitted(values, source, some.tokens.offsets)
        held = _sizes(values, source, some.tokens.offsets)
        return cls(mean, scale, slopes, offsets, ordered, in_place, per_token, held)

    def filled(self, tokens: TokenBatch) -> Tensor:
        """``[B]`` int64 on the CPU: how many places each image fills, as its tokens' sizes or their number tell."""
        places = self.slopes.shape[1]
        if self.per_token is None:
            return torch.full((len(tokens),), places)
        told = (tokens.lengths - tokens.prefix) * self.per_token
        if tokens.sizes is not None:
            held = torch.zeros(len(tokens)).index_add(0, tokens.image_of_token.cpu(), tokens.sizes.cpu().float())
            told = held - tokens.prefix
        return told.round().long().clamp(1, places)

    def standard(self, seen: Observation) -> TokenBatch:
        """Tokens with their standardised features ``[T, f]``."""
        return seen.tokens.with_values((_features(seen, self.ordered) - self.mean) / self.scale)

    def told(self, tokens: TokenBatch) -> Tensor:
        """``[T, P]``: how many of a token's patches are expected at each place, as a logarithm.

        Where tokens are merged it is the patch that chooses among them, so what each of them tells has to be on one
        scale: the probability that one of its patches belongs there, times the patches that it seems to stand for. A
        place that is known leaves no doubt.
        """
        told = tokens.values @ self.slopes + self.offsets
        if tokens.places is not None:
            own = tokens.places[:, None] - tokens.prefix == torch.arange(told.shape[1], device=told.device)
            told = told + 2 * MOST_TOLD * own
        told = told.log_softmax(-1)
        return told if self.held is None else told + _with_one(tokens.values) @ self.held[:, None]

    def scores(self, seen: Observation) -> Tensor:
        """``[B, P, t]``: how well each token of an image fits each patch."""
        tokens = self.standard(seen)
        padded, mask = tokens.with_values(self.told(tokens)).padded()
        return permitted(padded.transpose(1, 2), mask, tokens.prefix)


def permitted(scores: Tensor, mask: Tensor, prefix: int) -> Tensor:
    """Scores ``[B, P, t]`` of which padding (``mask`` is false there) and protected tokens, which hold no patch, have
    the least.
    """
    allowed = mask.clone()
    allowed[:, :prefix] = False
    return scores.masked_fill(~allowed[:, None], FORBIDDEN)


def completed(seen: Observation, scores: Callable[[Observation], Tensor], discriminant: Discriminant) -> Observation:
    """An observation with the most likely merge map, if it has none.

    Args:
        seen: what it is of.
        scores: of an observation, ``[B, P, t]``.
        discriminant: that knows how many places are filled, and whether tokens that are complete stand in theirs.
    """
    if seen.tokens.source is not None:
        return seen
    parts = [seen.select(rows) for rows in torch.arange(len(seen)).split(256)]
    filled = discriminant.filled(seen.tokens)
    source = torch.cat([assigned(scores(part), part.tokens, discriminant.filled(part.tokens)) for part in parts])
    if discriminant.in_place:  # in order and none missing: nothing to find out
        complete, places = _complete(seen.tokens, source, filled)
        source[complete] = places[complete]
    return replace(seen, tokens=replace(seen.tokens, source=source))


def token_features(seen: Observation) -> Tensor:
    """``[T, f]``: the tokens' values, their logarithmic sizes where the adversary knows them, and the frame's own."""
    tokens = seen.tokens
    parts = [tokens.values] if tokens.sizes is None else [tokens.values, tokens.sizes.clamp_min(1).log()[:, None]]
    return torch.cat([*parts, *(each[tokens.image_of_token] for each in frame_features(seen))], -1)


def assigned(scores: Tensor, tokens: TokenBatch, filled: Tensor | None = None) -> Tensor:
    """``[B, P]`` int64: the token of each patch that makes the scores ``[B, P, t]`` add up to the most.

    Where sizes are known, each token gets as many patches as it stands for; where there are as many tokens as patches,
    one. Else each patch has its own best. Places beyond the ``filled`` first ones ``[B]`` of an image have none; by
    default all are filled.
    """
    best, prefix = scores.argmax(-1), tokens.prefix
    for image, (count, begin) in enumerate(zip(tokens.counts, tokens.offsets.tolist(), strict=True)):
        sizes = torch.ones(count - prefix)
        if tokens.sizes is not None:
            sizes = tokens.sizes[begin + prefix : begin + count].round().cpu()
        patches = scores.shape[1] if filled is None else int(filled[image])
        if int(sizes.sum()) == patches:
            slots = torch.repeat_interleave(torch.arange(prefix, count), sizes.long())
            likely = scores[image][:patches, slots.to(scores.device)].double().cpu().numpy()
            chosen = slots[torch.as_tensor(linear_sum_assignment(likely, maximize=True)[1])]
            best[image, :patches] = chosen.to(best.device)
        best[image, patches:] = NOWHERE
    return best


def _features(seen: Observation, ordered: bool) -> Tensor:
    """`token_features`, and a token's rank among those of its image where the order that they come in means it."""
    features = token_features(seen)
    if not ordered:
        return features
    tokens = seen.tokens
    rank = tokens.rank.to(features.device)
    last = (tokens.lengths - 1).clamp_min(1).to(features.device)[tokens.image_of_token]
    return torch.cat([features, rank[:, None].float(), (rank / last)[:, None]], 1)


def _complete(tokens: TokenBatch, source: Tensor, filled: Tensor) -> tuple[Tensor, Tensor]:
    """``[B]``, which images have as many tokens as patches, and the map ``[B, P]`` if these stand in their places."""
    filled = filled.to(source.device)
    place = torch.arange(source.shape[1], device=source.device)
    places = torch.where(place < filled[:, None], place + tokens.prefix, NOWHERE)
    return tokens.lengths.to(source.device) == tokens.prefix + filled, places


def _in_place(seen: Iterable[Observation], fills: bool) -> bool:
    """Whether every image that has as many tokens as patches has them in their places, and there is one."""
    found = False
    for part in seen:
        source = part.tokens.source
        assert source is not None
        there = torch.ones_like(source) if fills else source != NOWHERE
        complete, places = _complete(part.tokens, source, there.sum(1))
        if not bool((source[complete] == places[complete]).all()):
            return False
        found = found or bool(complete.any())
    return found


def _with_one(features: Tensor) -> Tensor:
    return torch.cat([features, features.new_ones(len(features), 1)], 1)


def _sizes(features: Tensor, source: Tensor, offsets: Tensor) -> Tensor | None:
    """`Discriminant.held` by least squares; `_fitted` has the arguments."""
    rows = (source.clamp_min(0) + offsets.to(source.device)[:, None])[source != NOWHERE]
    sizes = torch.bincount(rows, minlength=len(features)).to(features)
    x, y = _with_one(features[sizes > 0]), sizes[sizes > 0].log()
    if not bool(y.any()):
        return None
    gram = x.T @ x
    strength = DAMPING * gram.diagonal().mean() + 1e-6
    return torch.linalg.solve(gram + strength * torch.eye(len(gram), device=gram.device), x.T @ y)


def _fitted(features: Tensor, source: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
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
