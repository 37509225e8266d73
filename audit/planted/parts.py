"""Planted defences, codecs, channels and attacks: some sound, some broken on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

import attacks
from atm.channels import Awgn, Received
from atm.codec import UncodedAnalog
from atm.defence import Defence
from atm.rows import Held
from atm.threat import Observation
from atm.tokens import TokenBatch
from attacks import Attack
from attacks.history import History
from attacks.mean_image import MeanImage
from attacks.oracle import Oracle
from attacks.ridge import Ridge
from attacks.session import Session
from audit.planted.encoders import PATCHES
from privacy_metrics.recognition import disordered


class GradientBreaking(Defence):
    """Rounds the tokens to 64 steps: gradients vanish, and the tokens say what they said."""

    name = "gradient-breaking"

    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """The rounded tokens, cut off from the graph."""
        return tokens.with_values((tokens.values.detach() * 64).round() / 64)


class GaussianNoise(Defence):
    """Adds independent Gaussian noise, against which the best attack is known."""

    name = "gaussian-noise"

    def __init__(self, deviation: float) -> None:
        self.deviation = deviation

    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """The noisy tokens."""
        return tokens.with_values(
            tokens.values + self.deviation * torch.randn(tokens.values.shape, generator=generator)
        )


class SecretFlip(Defence):
    """Turns the sign and order of each token's values, in the same way for every token."""

    name = "secret-flip"

    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """The turned tokens."""
        return tokens.with_values(-tokens.values.flip(-1))


class SecretMask(Defence):
    """Adds a secret vector to each token, the same for all pictures."""

    name = "secret-mask"

    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """The masked tokens."""
        mask = torch.randn(PATCHES + 1, tokens.values.shape[1], generator=torch.Generator().manual_seed(20))
        return tokens.with_values(tokens.values + mask[tokens.rank])


class WrongToken(Defence):
    """Drowns the class token in noise, and leaves the others as they are."""

    name = "wrong-token"

    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """The tokens with noise on those that are protected from merging."""
        noise = 100 * torch.randn(tokens.values.shape, generator=generator)
        return tokens.with_values(tokens.values + noise * (tokens.rank < tokens.prefix)[:, None])


class OneTimePad(Defence):
    """Adds uniform noise modulo 1, drawn anew for every value: tokens in [0, 1) become independent of the picture."""

    name = "one-time-pad"

    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """The padded tokens."""
        return tokens.with_values((tokens.values + torch.rand(tokens.values.shape, generator=generator)) % 1)


class RandomLength(Defence):
    """Keeps a random number of tokens, whatever the picture."""

    name = "random-length"

    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """The first of the tokens, from 1 to all."""
        counts = (1 + torch.rand(len(tokens), generator=generator) * (PATCHES - 1)).long() + tokens.prefix
        kept = tokens.rank < counts[tokens.image_of_token.cpu()]
        return tokens.only(kept.to(tokens.values.device))


class SideCodec(UncodedAnalog):
    """Sends nothing over the air, and all tokens beside it, in a header that arrives without error."""

    name = "side"

    def encode(self, tokens: TokenBatch, snr_db: float | Tensor) -> tuple[Tensor, Tensor]:
        """Symbols that are all the same, and the tokens of each picture as its side information."""
        symbols = torch.ones(len(tokens.values), self.symbols_per_token, dtype=torch.complex64)
        return symbols, tokens.values.reshape(len(tokens), -1)

    def decode(self, symbols: Tensor, side: Tensor, like: TokenBatch, snr_db: float | Tensor) -> Tensor:
        """The tokens out of the side information."""
        return side.reshape(-1, self.width)


class FixedPower(UncodedAnalog):
    """Sends tokens at one amplitude for all pictures, so that no header tells how bright or varied a picture is."""

    name = "fixed-power"
    sends_side = False

    def encode(self, tokens: TokenBatch, snr_db: float | Tensor) -> tuple[Tensor, Tensor]:
        """Pairs of values as they are."""
        symbols, amplitude = super().encode(tokens, snr_db)
        return symbols * amplitude[tokens.image_of_token], amplitude[:, :0]

    def decode(self, symbols: Tensor, side: Tensor, like: TokenBatch, snr_db: float | Tensor) -> Tensor:
        """The pairs again."""
        return super().decode(symbols, torch.ones(len(like), 1), like, snr_db)


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

    def fit(self, oracle: Oracle) -> None:
        """Fit the tokens of each picture to the pixels of another."""
        super().fit(replace(oracle, images=Held(oracle.images[:].roll(len(oracle.images) // 2, 0))))


class Stale(Ridge):
    """Not retrained: fitted to the system as it is without its defence."""

    name: ClassVar[str] = "stale"

    def fit(self, oracle: Oracle) -> None:
        """Fit to the undefended link."""
        undefended = oracle.own_device().with_defence(None)
        super().fit(Session(undefended, oracle.threat, oracle.images).oracle())


class Cut(MeanImage):
    """Ended by its time budget before it learnt anything."""

    name: ClassVar[str] = "cut"
    blind: ClassVar[bool] = False

    def fit(self, oracle: Oracle) -> None:
        """Take the mean, and stop."""
        super().fit(oracle)
        self.history = History(train=[1.0] * 10, gradient=[1.0] * 10, cut=True)


class Codes(MeanImage):
    """Rebuilds no picture, and reads in each token of `audit.planted.encoders.places` where it stood."""

    name: ClassVar[str] = "codes"
    blind: ClassVar[bool] = False

    def recover(self, seen: Observation) -> Tensor:
        """``[B, P]`` int64: for each patch the token that says that it stood there."""
        values, _ = seen.tokens.padded()
        return (values[:, None, :, 0] - torch.arange(PATCHES)[:, None] / PATCHES).abs().argmin(-1)


class Mirrored(Ridge):
    """Rebuilds mirror images, in which anybody recognises the picture and SSIM does not."""

    name: ClassVar[str] = "mirrored"

    def reconstruct(self, seen: Observation) -> Tensor:
        """What ridge rebuilds, left and right exchanged."""
        return super().reconstruct(seen).flip(-1)


class Disordered(Ridge):
    """Rebuilds every piece of a picture, and puts them together wrongly."""

    name: ClassVar[str] = "disordered"

    def reconstruct(self, seen: Observation) -> Tensor:
        """What ridge rebuilds, in pieces."""
        return disordered(super().reconstruct(seen))


ATTACKS: dict[str, Callable[[], Attack]] = {
    attack.name: attack for attack in (MixedUp, Stale, Cut, Codes, Mirrored, Disordered)
}


def create(name: str) -> Attack:
    """A planted attack, or one of the ordinary ones."""
    return ATTACKS[name]() if name in ATTACKS else attacks.create(name)
