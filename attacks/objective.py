"""What every white-box attack minimises: how unlikely the observation would be if a candidate had been sent."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from atm import merging, precision
from atm.defence import Defence
from atm.knowledge import Knowledge
from atm.link import Link
from atm.policy import Average
from atm.threat import Observation
from atm.tokens import NOWHERE, TokenBatch
from attacks.alignment import Alignment
from attacks.base import held_out
from attacks.discriminant import assigned
from attacks.oracle import Oracle

WHITE_BOX = Knowledge.WEIGHTS | Knowledge.CODEC | Knowledge.POLICY | Knowledge.AUXILIARY

# Of the variance of what is sent: below it a difference is rounding, not information.
LEAST_NOISE = 1e-3

MEASURED = 100  # held-out images, at most, on which noise and errors are measured


@dataclass(frozen=True)
class Target:
    """What candidates for ``B`` images are compared with.

    Attributes:
        values: ``[B, prefix + P, k]``, what arrived for the protected tokens and for each patch.
        weights: ``[B, prefix + P]``, how much each counts: a token that stands for n patches counts once, not n times.
        source: ``[B, P]`` int64, the merge map, told or recovered.
    """

    values: Tensor
    weights: Tensor
    source: Tensor

    def select(self, rows: Tensor) -> Target:
        """The targets of some images."""
        return Target(self.values[rows], self.weights[rows], self.source[rows])


class Likelihood:
    """Minus the log-likelihood of an observation, up to a constant, for Gaussian noise on the wire.

    The candidate is sent through the adversary's own copy of encoder, merge, defence and codec. What is not
    differentiable is the matching, and a candidate that is matched as the device would match it mostly merges otherwise
    than the victim did, with a jump in the loss at every change. So the encoder runs unmerged, and at the end its
    tokens are merged as the observed map says: smooth, and right up to what merging early changes in later layers. What
    a defence drew at random is not drawn anew: tokens that the map says were dropped are dropped here, and the rest is
    what is expected of it (`atm.defence.Defence.expected`). The noise is measured in this way on the auxiliary images,
    so it covers all these errors, a recovered map's mistakes, and what a defence adds. Where no gradient comes through
    the codec (a digital one), the tokens before it are compared with those that were decoded; and where none comes
    through a defence, it is taken for the identity on the way back (BPDA, Athalye et al. 2018), because a missing
    gradient protects nobody.

    Args:
        oracle: of the adversary; the held-out ones of her images measure the noise.
    """

    def __init__(self, oracle: Oracle) -> None:
        images = oracle.images
        self.link = _passable(oracle.own_device(), images[:1])
        self.unmerged = replace(self.link.policy, thresholds=(1.0,) * self.link.policy.depth, remove=())
        told = Knowledge.MERGE_MAP in oracle.knows
        self.alignment = None if told else oracle.fitted(Alignment)
        self.align = oracle.complete
        with torch.enable_grad():
            tokens = self.link.encoder(images[:1], self.link.policy).tokens
            _, symbols, _ = self.link.emit(tokens.with_values(tokens.values.detach().requires_grad_()))
        self.on_symbols = symbols.requires_grad and oracle.threat.tap != "before-codec"
        rows = held_out(len(images))[1][:MEASURED]
        target = self.target(oracle.observe(rows))
        with torch.no_grad():
            values = torch.cat([self.sent(images[rows[part]], target.source[part]) for part in _parts(len(rows))])
            squares = (values - target.values).abs().square().mean(-1) * target.weights
            power = target.values.abs().square().mean()
        self.noise = max(float(squares.sum() / target.weights.sum()), LEAST_NOISE * float(power))

    @torch.no_grad()
    def realigned(self, seen: Observation, images: Tensor) -> Observation:
        """An aligned observation with a better map: each patch's token should resemble what a reconstruction sends.

        Args:
            seen: with a map.
            images: ``[B, C, H, W]``, reconstructions from it.
        """
        if self.alignment is None:
            return seen
        source = seen.tokens.source
        assert source is not None
        scores = []
        for rows in _parts(len(seen)):
            part = seen.select(rows)
            arrived = real_values(self._arrived(part).padded()[0])
            whole = real_values(self.sent(images[rows], None)[:, seen.tokens.prefix :])
            distance = torch.cdist(whole, arrived).square()
            # What is believed so far says how far a patch's own token is from what a reconstruction sends.
            width = distance.gather(2, source[rows].clamp_min(0)[:, :, None]).mean((1, 2)).clamp_min(1e-12)
            evidence = distance * (arrived.shape[-1] / (2 * width))[:, None, None]
            filled = self.alignment.discriminant.filled(part.tokens)
            scores.append(assigned(self.alignment.scores(part) - evidence, part.tokens, filled))
        return replace(seen, tokens=replace(seen.tokens, source=torch.cat(scores)))

    def target(self, seen: Observation) -> Target:
        """What candidates are compared with."""
        seen = self.align(seen)
        source = seen.tokens.source
        assert source is not None
        shared = (source[:, :, None] == source[:, None, :]).sum(-1)
        ones = torch.ones(len(seen), seen.tokens.prefix, device=source.device)
        arrived = torch.where(source == NOWHERE, 0.0, 1 / shared)  # what was dropped tells nothing
        return Target(per_patch(self._arrived(seen)), torch.cat([ones, arrived], 1), source)

    def __call__(self, candidate: Tensor, target: Target) -> Tensor:
        """Candidates ``[B, C, H, W]`` in [0, 1] -> ``[B]``; about the number of values sent for the true image."""
        distance = (self.sent(candidate, target.source) - target.values).abs().square().sum(-1)
        return (distance * target.weights).sum(1) / self.noise

    def sent(self, images: Tensor, source: Tensor | None) -> Tensor:
        """``[B, prefix + P, k]``: what leaves the device for images merged at the end by a map, or not at all."""
        tokens, symbols, _ = self.link.emit_expected(self.encoded(images, source))
        return per_patch(tokens.with_values(symbols) if self.on_symbols else tokens)

    def encoded(self, images: Tensor, source: Tensor | None) -> TokenBatch:
        """The tokens of images ``[B, C, H, W]`` at the exit, merged there by a map or not at all."""
        with precision.fast(images.device):
            tokens = self.link.encoder(images, self.unmerged).tokens
        tokens = tokens.with_values(tokens.values.float())
        return tokens if source is None else together(tokens, source, self.link.policy.average)

    def _arrived(self, seen: Observation) -> TokenBatch:
        return seen.tokens.with_values(seen.symbols if self.on_symbols else seen.tokens.values)


def together(tokens: TokenBatch, source: Tensor, average: Average) -> TokenBatch:
    """Tokens merged until they agree with a map ``[B, P]``: each into the first one that ends where it does.

    Args:
        tokens: of which each has patches of a single token of the map.
        source: the map; patches that are nowhere in it are left out of what is given back.
        average: the weights.
    """
    assert tokens.source is not None
    there = (source != NOWHERE) & (tokens.source != NOWHERE)
    first = ((source[:, :, None] == source[:, None, :]) & there[:, None]).int().argmax(-1)
    into = tokens.source.gather(1, first)
    image, patch = (there & (tokens.source != into)).nonzero(as_tuple=True)
    begin = tokens.offsets.to(source.device)[image]
    pairs = torch.stack([begin + tokens.source[image, patch], begin + into[image, patch], image]).unique(dim=1)
    similarity = torch.ones(pairs.shape[1], device=source.device)
    merged = merging.merge(tokens, merging.Matches(pairs[0], pairs[1], similarity, pairs[2]), average)
    return merged.without_patches(source == NOWHERE)


class _StraightThrough(Defence):
    """A defence on the way forward, the identity on the way back."""

    def __init__(self, inner: Defence) -> None:
        self.name, self.inner = inner.name, inner

    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        return self._through(tokens, self.inner.protect(tokens, generator))

    def expected(self, tokens: TokenBatch) -> TokenBatch:
        return self._through(tokens, self.inner.expected(tokens))

    def _through(self, tokens: TokenBatch, sent: TokenBatch) -> TokenBatch:
        return sent.with_values(sent.values.detach() + tokens.values - tokens.values.detach())


def _passable(link: Link, image: Tensor) -> Link:
    """The link, or one whose defence lets gradients pass where the link's own lets none."""
    if link.defence is None:
        return link
    tokens = link.encoder(image, link.policy).tokens
    with torch.enable_grad():
        values = tokens.values.detach().requires_grad_()
        sent = link.defence.expected(tokens.with_values(values)).values
        if sent.requires_grad:
            (gradient,) = torch.autograd.grad(sent.square().sum(), values, allow_unused=True)
            if gradient is not None and bool(gradient.any()):
                return link
    return link.with_defence(_StraightThrough(link.defence)) if sent.shape == values.shape else link


def per_patch(tokens: TokenBatch) -> Tensor:
    """``[B, prefix + P, k]``: the protected tokens, then for each patch the token that it ended in."""
    return torch.cat([tokens.protected(), tokens.per_patch()], 1) if tokens.prefix else tokens.per_patch()


def _parts(count: int) -> tuple[Tensor, ...]:
    return torch.arange(count).split(64)


def real_values(values: Tensor) -> Tensor:
    """Complex ``[..., k]`` as ``[..., 2k]``; real values as they are."""
    return torch.view_as_real(values).flatten(-2) if values.is_complex() else values
