"""A generator of pictures like the adversary's own, and the way back from a picture to what generates it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from atm import precision
from atm.signals import ArraySignal, arrays
from attacks.base import Method, held_out
from attacks.network import Residual
from attacks.oracle import Oracle
from attacks.training import PIXELS, Schedule, train


@dataclass
class Generator(Method):
    """A convolutional autoencoder; latents of unit variance with noise on them, so that every latent is a picture.

    Attributes:
        latent: channels of the latent, an eighth of the picture's side in height and width.
        width: of the intermediate features, a quarter of it.
        noise: deviation of the noise on latents while it is trained.
        schedule: of the training.
    """

    name: ClassVar[str] = "generator"
    QUICK: ClassVar[dict[str, Any]] = {"schedule": replace(PIXELS, steps=200, every=50)}

    latent: int = 32
    width: int = 64
    noise: float = 0.1
    schedule: Schedule = PIXELS

    def fit(self, oracle: Oracle) -> None:
        """Train on the auxiliary images; they are not sent."""
        images, loss = oracle.images, oracle.signal.loss
        self.network = _Autoencoder(arrays(oracle.signal), self.latent, self.width).to(images.device)

        def loss_on(rows: Tensor) -> Tensor:
            with precision.fast(images.device):
                latent = self.network.encode(images[rows])
                if self.network.training:
                    latent = latent + self.noise * torch.randn(latent.shape).to(
                        latent
                    )  # the same numbers on every device
                drawn = self.network.last(self.network.first(latent))
            return loss(drawn.float(), images[rows])

        rows = held_out(len(images))
        self.history = train(self.network, loss_on, *rows, self.schedule, "the generator", oracle.budget)
        self.network.requires_grad_(False)

    @torch.no_grad()
    def latents(self, images: Tensor) -> Tensor:
        """``[B, C, H, W]`` -> ``[B, latent, h, w]``."""
        return torch.cat([self.network.encode(part) for part in images.split(256)])

    def features(self, latents: Tensor) -> Tensor:
        """``[B, latent, h, w]`` -> ``[B, width, 2h, 2w]``, half way to a picture."""
        drawn: Tensor = self.network.first(latents)
        return drawn

    def images(self, features: Tensor) -> Tensor:
        """``[B, width, 2h, 2w]`` -> ``[B, C, H, W]``, not clipped."""
        drawn: Tensor = self.network.last(features)
        return drawn


class _Autoencoder(nn.Module):
    def __init__(self, signal: ArraySignal, latent: int, width: int) -> None:
        super().__init__()
        colours, *sides = signal.shape
        a, b, c = [2 if all(side % 2**n == 0 for side in sides) else 1 for n in (1, 2, 3)]
        half = width // 2
        self.into = nn.Sequential(
            _Down(colours, half, a), Residual(half), _Down(half, width, b), Residual(width), _Down(width, width, c),
            Residual(width), nn.Conv2d(width, latent, 1),
        )  # fmt: skip
        self.norm = nn.BatchNorm2d(latent, affine=False)
        self.first = nn.Sequential(
            nn.Conv2d(latent, width, 3, padding=1), Residual(width), Residual(width), _Up(width, width, c)
        )
        self.last = nn.Sequential(Residual(width), _Up(width, half, b), Residual(half), _Up(half, colours, a))

    def encode(self, images: Tensor) -> Tensor:
        latents: Tensor = self.norm(self.into(images))
        return latents


class _Down(nn.Module):
    def __init__(self, before: int, after: int, factor: int) -> None:
        super().__init__()
        self.factor, self.mix = factor, nn.Conv2d(before * factor**2, after, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.mix(pixel_unshuffle(x, self.factor))
        return out


class _Up(nn.Module):
    def __init__(self, before: int, after: int, factor: int) -> None:
        super().__init__()
        self.factor, self.mix = factor, nn.Conv2d(before, after * factor**2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return pixel_shuffle(self.mix(x), self.factor)
