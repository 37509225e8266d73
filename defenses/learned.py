"""What the trained defences share: a network over tokens that keeps the victim's answers and hides the picture."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div

from atm.defence import Defence
from atm.link import Link
from atm.tokens import TokenBatch
from defenses.base import calibration_tokens, check, deviation, fitted_or_fail

Leak = Callable[[TokenBatch, Tensor, Tensor], Tensor]
"""What tokens that are sent are believed to give away, a number to be made small.

Given standardised tokens without noise, the numbers ``[B]`` of their images, and what the victim takes these for,
``[B]``.
"""

MOST_WEIGHT = 1000


class Learned(Defence):
    """A network that is trained between a frozen device and a frozen server.

    Its loss is how far the victim's answers move (Kullback-Leibler), plus a weight times what its own way of hiding
    calls a leak. Published defences train the device too; here only what is put behind it learns, so that any victim
    can have it. Adversaries know the trained network, or send their pictures through it.

    Args:
        weight: of the leak against the answers.
    """

    rounds: ClassVar[int] = 200
    batch: ClassVar[int] = 64
    rate: ClassVar[float] = 1e-3

    def __init__(self, weight: float = 1.0) -> None:
        check(0 <= weight <= MOST_WEIGHT, self.name, weight, f"the weight of the leak is from 0 to {MOST_WEIGHT}")
        self.weight = weight
        self.network: nn.Module | None = None

    def fit(self, link: Link, images: Tensor) -> None:
        """Train the network on calibration images, from where it changes nothing or little."""
        tokens, images = calibration_tokens(link, images), images.to(link.device)
        with torch.no_grad():
            answers = link.encoder.finish(tokens, link.policy).softmax(-1)
        self.mean = tokens.values.mean(0)
        self.scale = max(deviation(tokens.values), 1e-6)
        network, leak = self.begin(tokens, link.signal.to_units(images))
        self.network = network.to(link.device)
        # The epsilon keeps a gradient that is rounding from being a whole step, which would differ between devices.
        optimizer = torch.optim.Adam(self.network.parameters(), self.rate, eps=1e-6)
        for _ in range(self.rounds):
            rows = torch.randint(len(images), (min(self.batch, len(images)),))
            clean = self.expected(tokens.select(rows))
            sent = self.noisy(clean)
            logits = link.encoder.finish(sent, link.policy)
            task = kl_div(logits.log_softmax(-1), answers[rows], reduction="batchmean")
            loss = task + self.weight * leak(self.standard(clean), rows, answers[rows].argmax(-1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        self.network.requires_grad_(False)

    @abstractmethod
    def begin(self, tokens: TokenBatch, patches: Tensor) -> tuple[nn.Module, Leak]:
        """The network before training, from standardised tokens to as many values, and what judges how it hides.

        Args:
            tokens: of the calibration images.
            patches: ``[N, P, C * h * w]``, these images.
        """

    def standard(self, tokens: TokenBatch) -> TokenBatch:
        """Tokens of mean 0 and of the scale 1."""
        return tokens.with_values((tokens.values - self.mean) / self.scale)

    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """The tokens through the network, and what noise there is."""
        return self.noisy(self.expected(tokens), generator)

    def noisy(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """What comes from the network with the noise of the defence; by default none."""
        return tokens

    def expected(self, tokens: TokenBatch) -> TokenBatch:
        """The tokens through the network."""
        fitted_or_fail(self.network, self.name)
        assert self.network is not None
        return tokens.with_values(self.mean + self.scale * self.network(self.standard(tokens)))

    def flops(self, lengths: Tensor) -> Tensor:
        """A multiplication and an addition of each weight for each token."""
        assert self.network is not None
        return 2.0 * lengths.double() * sum(p.numel() for p in self.network.parameters() if p.ndim == 2)


class Corrected(nn.Module):
    """Tokens plus what a network with one hidden layer makes of each, at first nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, tokens: TokenBatch) -> Tensor:
        """``[T, d]``."""
        return tokens.values + self.out(torch.nn.functional.gelu(self.hidden(tokens.values)))


class PatchDecoder:
    """A small decoder that learns to rebuild patches, against which a defence is trained.

    Args:
        width: of a token.
        patches: ``[N, P, C * h * w]``, of the calibration images.
    """

    TURNS: ClassVar[int] = 2  # steps of its own for each of the defence

    def __init__(self, width: int, patches: Tensor) -> None:
        self.patches, self.mean = patches, patches.mean(0)
        self.deviation = (patches - self.mean).square().mean().clamp_min(1e-6)
        network = nn.Sequential(nn.Linear(width, 128), nn.GELU(), nn.Linear(128, patches.shape[-1]))
        self.network = network.to(patches.device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), 3e-3)

    def gets(self, sent: TokenBatch, rows: Tensor, classes: Tensor) -> Tensor:
        """What it gets right after learning from these tokens: 0 is all, -1 no more than the mean patch."""
        for _ in range(self.TURNS):
            loss = self._error(sent.with_values(sent.values.detach()), rows)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return -self._error(sent, rows).clamp_max(1.0)  # to do worse than the mean patch is no gain

    def _error(self, sent: TokenBatch, rows: Tensor) -> Tensor:
        estimate = self.network(sent.per_patch()) + self.mean
        return (estimate - self.patches[rows]).square().mean() / self.deviation
