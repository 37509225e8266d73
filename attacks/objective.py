"""What every white-box attack minimises: how unlikely the observation would be if a candidate had been sent."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from atm.link import Defence, Link
from atm.threat import Knowledge, Observation, ThreatModel
from atm.tokens import NOWHERE, TokenBatch
from attacks.alignment import aligned
from attacks.base import held_out

WHITE_BOX = Knowledge.WEIGHTS | Knowledge.CODEC | Knowledge.POLICY | Knowledge.AUXILIARY

# Of the variance of what is sent: below it a difference is rounding or another tie in the matching, not information.
LEAST_NOISE = 1e-3


class Likelihood:
    """Minus the log-likelihood of an observation, up to a constant, for Gaussian noise on the wire.

    The candidate is sent through the adversary's own copy of encoder, merge, defence and codec. It is matched anew at
    each step: its own merges are taken, and each patch compares the token that it ended in with the one that it ended
    in at the device; a token that stands for n patches counts once, not n times. The noise is measured on the
    auxiliary images, so it also covers what a defence adds. Where no gradient comes through the codec (a digital one),
    the tokens before it are compared with those that were decoded; and where none comes through a defence, it is taken
    for the identity on the way back (BPDA, Athalye et al. 2018), because a missing gradient protects nobody.

    Args:
        link: the system.
        threat: the adversary.
        images: auxiliary images ``[N, 3, H, W]``; the held-out ones measure the noise.
    """

    def __init__(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        self.link = _passable(link, images[:1])
        self.align: Callable[[Observation], Observation] = aligned(link, threat, images)
        with torch.enable_grad():
            _, symbols, _, _ = self.link.send(images[:1].clone().requires_grad_())
        self.on_symbols = symbols.requires_grad and threat.tap != "before-codec"
        rows = held_out(len(images))[1][:200]
        seen = threat.rehearse(link, images)
        with torch.no_grad():
            difference = self._sent(images[rows]) - self.observed(seen, rows)
            power = self.observed(seen, rows).abs().square().mean()
        self.noise = max(float(difference.abs().square().mean()), LEAST_NOISE * float(power))

    def observed(self, seen: Observation, rows: Tensor | None = None) -> Tensor:
        """``[B, prefix + P, k]``: what arrived for the protected tokens and for each patch."""
        values = seen.symbols if self.on_symbols else seen.tokens.values
        tokens = seen.tokens.with_values(values)
        return _per_patch(tokens if rows is None else tokens.select(rows))

    def target(self, seen: Observation) -> tuple[Tensor, Tensor]:
        """What candidates are compared with: the observation by patches, and each row's weight ``[B, prefix + P]``."""
        seen = self.align(seen)
        source = seen.tokens.source
        assert source is not None
        shared = (source[:, :, None] == source[:, None, :]).sum(-1)
        ones = torch.ones(len(seen), seen.tokens.prefix, device=source.device)
        arrived = torch.where(source == NOWHERE, 0.0, 1 / shared)  # what was dropped tells nothing
        return self.observed(seen), torch.cat([ones, arrived], 1)

    def __call__(self, candidate: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
        """Candidates ``[B, 3, H, W]`` in [0, 1] -> ``[B]``; about the number of values sent for the true image."""
        values, weights = target
        distance = (self._sent(candidate) - values).abs().square().sum(-1)
        return (distance * weights).sum(1) / self.noise

    def _sent(self, images: Tensor) -> Tensor:
        tokens, symbols, _, _ = self.link.send(images)
        return _per_patch(tokens.with_values(symbols) if self.on_symbols else tokens)


class _StraightThrough:
    """A defence on the way forward, the identity on the way back."""

    def __init__(self, inner: Defence) -> None:
        self.name, self.inner = inner.name, inner

    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        sent = self.inner.protect(tokens, generator)
        return sent.with_values(sent.values.detach() + tokens.values - tokens.values.detach())


def _passable(link: Link, image: Tensor) -> Link:
    """The link, or one whose defence lets gradients pass where the link's own lets none."""
    if link.defence is None:
        return link
    tokens = link.encoder(image, link.policy).tokens
    with torch.enable_grad():
        values = tokens.values.detach().requires_grad_()
        sent = link.defence.protect(tokens.with_values(values)).values
        if sent.requires_grad:
            (gradient,) = torch.autograd.grad(sent.square().sum(), values, allow_unused=True)
            if gradient is not None and bool(gradient.any()):
                return link
    return link.with_defence(_StraightThrough(link.defence)) if sent.shape == values.shape else link


def select(target: tuple[Tensor, Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
    """The targets of some images."""
    return target[0][rows], target[1][rows]


def _per_patch(tokens: TokenBatch) -> Tensor:
    return torch.cat([tokens.protected(), tokens.per_patch()], 1) if tokens.prefix else tokens.per_patch()
