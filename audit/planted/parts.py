"""Planted defences, channels and attacks: some sound, some broken on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

import attacks
from atm.channels import Awgn, Received
from atm.link import Link
from atm.threat import Knowledge, Observation, ThreatModel
from atm.tokens import TokenBatch
from attacks import Attack
from attacks.base import History
from attacks.ridge import Ridge


class GradientBreaking:
    """Rounds the tokens to 64 steps: gradients vanish, and the tokens say what they said."""

    name = "gradient-breaking"

    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """The rounded tokens, cut off from the graph."""
        return tokens.with_values((tokens.values.detach() * 64).round() / 64)


@dataclass
class GaussianNoise:
    """Adds independent Gaussian noise, against which the best attack is known."""

    deviation: float
    name: str = "gaussian-noise"

    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """The noisy tokens."""
        return tokens.with_values(
            tokens.values + self.deviation * torch.randn(tokens.values.shape, generator=generator)
        )


class SecretFlip:
    """Turns the sign and order of each token's values, in the same way for every token."""

    name = "secret-flip"

    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """The turned tokens."""
        return tokens.with_values(-tokens.values.flip(-1))


class Announced(Awgn):
    """Says that it adds noise, and adds none."""

    def carry(
        self, symbols: Tensor, generator: torch.Generator | None = None, lengths: Tensor | None = None
    ) -> Received:
        """The symbols themselves."""
        return Received(symbols, self.snr_db)


class MixedUp(Ridge):
    """Broken on purpose: learns from pictures that do not belong to the tokens."""

    name: ClassVar[str] = "mixed_up"

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Fit the tokens of each picture to the pixels of another."""
        half = len(images) // 2

        class Shifted(ThreatModel):
            def tap_images(self, link: Link, images: Tensor, seed: int = 0) -> Observation:
                return threat.tap_images(link, images.roll(half, 0), seed)

        super().fit(link, Shifted("shifted"), images)


class Stale(Ridge):
    """Not retrained: fitted to the system as it is without its defence."""

    name: ClassVar[str] = "stale"

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Fit to the undefended link."""
        super().fit(Link(link.encoder, link.policy, link.codec, link.channel), threat, images)


class Cut:
    """Ended by its time budget before it learnt anything."""

    name: ClassVar[str] = "cut"
    needs: ClassVar[Knowledge] = Knowledge.AUXILIARY

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Take the mean, and stop."""
        self.history = History(train=[1.0] * 10, gradient=[1.0] * 10, cut=True)
        self.mean = images.mean(0)

    def reconstruct(self, seen: Observation) -> Tensor:
        """The mean, for every image."""
        return self.mean.expand(len(seen), -1, -1, -1)


ATTACKS: dict[str, Callable[[], Attack]] = {attack.name: attack for attack in (MixedUp, Stale, Cut)}


def create(name: str) -> Attack:
    """A planted attack, or one of the ordinary ones."""
    return ATTACKS[name]() if name in ATTACKS else attacks.create(name)
