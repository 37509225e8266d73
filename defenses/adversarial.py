"""A trained projection that keeps the task and starves a decoder."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, mse_loss

from atm.defence import Defence
from atm.link import Link
from atm.tokens import TokenBatch
from defenses.base import calibration_tokens, check, fitted_or_fail


class Adversarial(Defence):
    """A linear bottleneck trained against a decoder; ``adversarial:2`` weighs the decoder's error twice.

    In turns a small decoder learns to rebuild patches from projected tokens, and the projection learns to keep the
    victim's own answers while that decoder fails (adversarial representation learning, as in arXiv 1904.12053). The
    bottleneck has a quarter of the tokens' width, so that what it drops no later attack can bring back; what it keeps,
    a stronger decoder than the one trained against may still use.
    """

    name = "adversarial"
    rounds: ClassVar[int] = 200
    batch: ClassVar[int] = 64

    def __init__(self, weight: float = 1.0) -> None:
        check(weight >= 0, self.name, weight, "the weight of the decoder's error is at least 0")
        self.weight = weight
        self.down: Tensor | None = None

    def fit(self, link: Link, images: Tensor) -> None:
        """Train projection and decoder in turns, from the tokens' principal components."""
        tokens, images = calibration_tokens(link, images), images.to(link.device)
        with torch.no_grad():
            answers = link.encoder.finish(tokens, link.policy).softmax(-1)
        patches = link.signal.to_units(images)
        self.mean = tokens.values.mean(0)
        scale = tokens.values.std(0).mean().clamp_min(1e-6)
        _, directions = torch.linalg.eigh((tokens.values - self.mean).T @ (tokens.values - self.mean))
        basis = directions[:, -max(1, tokens.values.shape[1] // 4) :]
        self.down, self.up = basis.clone().requires_grad_(), basis.T.clone().requires_grad_()

        width = tokens.values.shape[1]
        decoder = nn.Sequential(nn.Linear(width, 128), nn.GELU(), nn.Linear(128, patches.shape[-1]))
        decoder.to(link.device)
        deviation = (patches - patches.mean(0)).square().mean()
        learn = torch.optim.Adam(decoder.parameters(), 3e-3)
        protect = torch.optim.Adam([self.down, self.up], 1e-3)
        for _ in range(self.rounds):
            for turn in (learn, learn, protect):
                rows = torch.randint(len(images), (min(self.batch, len(images)),))
                sent = self.protect(tokens.select(rows))
                estimate = decoder((sent.per_patch() - self.mean) / scale) + patches.mean(0)
                error = mse_loss(estimate, patches[rows]) / deviation
                loss = error
                if turn is protect:
                    logits = link.encoder.finish(sent, link.policy)
                    task = kl_div(logits.log_softmax(-1), answers[rows], reduction="batchmean")
                    loss = task - self.weight * error.clamp_max(1.0)  # worse than the mean patch is no gain
                turn.zero_grad()
                loss.backward()
                turn.step()
        self.down, self.up = self.down.detach(), self.up.detach()

    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """The tokens through the bottleneck."""
        fitted_or_fail(self.down, self.name)
        assert self.down is not None
        return tokens.with_values(self.mean + (tokens.values - self.mean) @ self.down @ self.up)

    def flops(self, lengths: Tensor) -> Tensor:
        """Two products with the bottleneck."""
        assert self.down is not None
        return 4.0 * lengths.double() * self.down.numel()
