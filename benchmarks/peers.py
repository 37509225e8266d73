"""Attacks that people use today, written anew from their papers, to be measured beside ours.

They are what was published: none is trained on merged, coded, noisy tokens. Where a paper leaves something open they
get what helps them: our schedule, which keeps the weights that are best on held-out images, and where the merge map is
hidden, our own recovery of it for the white-box ones, whose papers assume that positions are known.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, interpolate, mse_loss

from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import Knowledge, Observation, ThreatModel
from atm.tokens import TokenBatch
from attacks.base import held_out
from attacks.budget import spent
from attacks.network import Block
from attacks.objective import WHITE_BOX, Likelihood
from attacks.training import Schedule, train

MOST_STEPS = 20_000  # the time budget ends every peer long before


class InversionNetwork:
    """He, Zhang and Lee (2019), black box; also AIJack's ``Generator_Attack``: transposed convolutions from feature map
    to image, trained with the squared error. It takes tokens by patch if it has the map, else as they come.
    """

    name: ClassVar[str] = "inversion-network"
    needs: ClassVar[Knowledge] = Knowledge.AUXILIARY

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Send the auxiliary images and train."""
        self.grid = link.encoder.patch_grid
        features = self._map(threat.tap_images(link, images))
        self.mean, self.scale = features.mean((0, 2, 3), True), features.std((0, 2, 3), keepdim=True).clamp_min(1e-6)
        self.network = upsampler(features.shape[1], images.shape[-1] // self.grid[1])
        features = (features - self.mean) / self.scale

        def loss_on(rows: Tensor) -> Tensor:
            return mse_loss(self.network(features[rows]), images[rows])

        train(self.network, loss_on, *held_out(len(images)), Schedule(steps=MOST_STEPS), f"the {self.name}")

    @torch.no_grad()
    def reconstruct(self, seen: Observation) -> Tensor:
        """One forward pass."""
        return self.network((self._map(seen) - self.mean) / self.scale)

    def _map(self, seen: Observation) -> Tensor:
        """``[B, d, rows, columns]``."""
        if seen.tokens.source is not None:
            patches = seen.tokens.per_patch()
        else:
            count = self.grid[0] * self.grid[1]
            patches = as_they_come(seen.tokens, count)
        return patches.transpose(1, 2).unflatten(2, self.grid)


class PositionDecoder:
    """Leggio et al. (2026, SARA): a transformer gives each token one position, a convolutional decoder does the rest.
    Both learn from unreduced tokens; where several tokens claim a place the surest gets it, and what stays empty is 0.
    """

    name: ClassVar[str] = "position-decoder"
    needs: ClassVar[Knowledge] = Knowledge.AUXILIARY | Knowledge.WEIGHTS | Knowledge.POLICY

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Run the device without merging on the auxiliary images, and train both."""
        self.grid = link.encoder.patch_grid
        plain = link.with_policy(MergePolicy.uniform(1.0, link.encoder.depth))
        tokens = threat.rehearse(plain, images).tokens
        values = tokens.values
        self.mean, self.scale = values.mean(0), values.std(0).clamp_min(1e-6)
        tokens, count = tokens.with_values((values - self.mean) / self.scale), self.grid[0] * self.grid[1]
        source = tokens.source
        assert source is not None
        rows = held_out(len(images))
        self.locate = _Locator(values.shape[1], count)

        def position_loss(chosen: Tensor) -> Tensor:
            scores = self.locate(*tokens.select(chosen).padded()).transpose(1, 2)  # [B, P, t]
            truth = torch.zeros(scores.shape[0], scores.shape[2], dtype=torch.long)
            truth.scatter_(1, source[chosen], torch.arange(count).expand(len(chosen), -1))
            return cross_entropy(scores[:, :, tokens.prefix :], truth[:, tokens.prefix :])

        with_half = Schedule(steps=1000, patience=3)
        train(self.locate, position_loss, *rows, with_half, "the positions")
        features = tokens.per_patch().transpose(1, 2).unflatten(2, self.grid)
        self.network = upsampler(features.shape[1], images.shape[-1] // self.grid[1])

        def loss_on(chosen: Tensor) -> Tensor:
            return mse_loss(self.network(features[chosen]), images[chosen])

        train(self.network, loss_on, *rows, Schedule(steps=MOST_STEPS), f"the {self.name}")

    @torch.no_grad()
    def reconstruct(self, seen: Observation) -> Tensor:
        """Place the tokens, then decode."""
        tokens = seen.tokens.with_values((seen.tokens.values - self.mean) / self.scale)
        padded, mask = tokens.padded()
        sureness, cell = self.locate(padded, mask).softmax(-1).max(-1)
        grid = torch.zeros(len(seen), self.grid[0] * self.grid[1], padded.shape[-1])
        for image, length in enumerate(tokens.counts):
            order = sureness[image, tokens.prefix : length].argsort() + tokens.prefix  # the surest is written last
            for token in order.tolist():
                grid[image, cell[image, token]] = padded[image, token]
        return self.network(grid.transpose(1, 2).unflatten(2, self.grid))


class _Search:
    """Descent on an image, or on what generates one, until the tokens agree with those observed."""

    needs: ClassVar[Knowledge] = WHITE_BOX
    rate: ClassVar[float]

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Nothing is learned but the map, where it is hidden."""
        self.likelihood, self.shape = Likelihood(link, threat, images), images.shape[1:]
        self.patch = images.shape[-1] // link.encoder.patch_grid[1]

    def reconstruct(self, seen: Observation) -> Tensor:
        """All images at once, for as long as there is time; the last iterate is the answer."""
        target = self.likelihood.target(seen)
        parameters, image_at = self.start(len(seen))
        optimizer = torch.optim.Adam(parameters, self.rate)
        for step in range(MOST_STEPS):
            optimizer.zero_grad()
            self.loss(image_at(step), target).backward()
            self.clip(parameters)
            optimizer.step()
            if spent():
                break
        with torch.no_grad():
            return image_at(step).clamp(0, 1)

    def start(self, count: int) -> tuple[list[Tensor], Callable[[int], Tensor]]:
        """What is searched, from grey, and the images that it stands for at a step."""
        image = torch.full((count, *self.shape), 0.5).requires_grad_()
        return [image], lambda step: image

    def clip(self, parameters: list[Tensor]) -> None:
        """Nothing."""

    def loss(self, image: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
        raise NotImplementedError


class RegularisedInversion(_Search):
    """He, Zhang and Lee (2019), white box: squared feature distance and total variation, from grey."""

    name: ClassVar[str] = "regularised-inversion"
    rate: ClassVar[float] = 0.01

    def loss(self, image: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
        """Relative squared distance plus total variation, summed over images."""
        return (squared_distance(self.likelihood, image, target) + 0.1 * variation(image)).sum()


class TokenOptimization(_Search):
    """DRAG (ICML 2025), its optimisation without a diffusion model: cosine distance of tokens, total variation and a
    prior on patch boundaries; Adam 5e-2 and gradients clipped at 1.
    """

    name: ClassVar[str] = "drag-tokens"
    rate: ClassVar[float] = 0.05

    def loss(self, image: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
        """Cosine distance, averaged over tokens, and both priors; summed over images."""
        values, weights = target
        similarity = cosine_similarity(_real(self.likelihood._sent(image)), _real(values), -1)
        distance = ((1 - similarity) * weights).sum(1) / weights.sum(1)
        return (distance + 1.5 * variation(image) + 1e-3 * boundaries(image, self.patch)).sum()

    def clip(self, parameters: list[Tensor]) -> None:
        """Image by image, as if each were alone."""
        for parameter in parameters:
            assert parameter.grad is not None
            norm = parameter.grad.flatten(1).norm(dim=1).clamp_min(1.0)
            parameter.grad /= norm[:, None, None, None]


class ImagePrior(_Search):
    """Deep image prior as DRAG runs it: the weights of an untrained convolutional network for each image, with total
    variation; the noise on its input falls as steps go by.
    """

    name: ClassVar[str] = "deep-image-prior"
    rate: ClassVar[float] = 0.01

    def start(self, count: int) -> tuple[list[Tensor], Callable[[int], Tensor]]:
        """Networks side by side, as groups of one convolution."""
        network = _Hourglass(count, channels=(16, 32, 64))
        seed = torch.rand(1, 16 * count, *self.shape[1:]) * 0.1

        def image_at(step: int) -> Tensor:
            noise = 0.05 * 0.5 ** (step // 50)
            return network(seed + noise * torch.randn_like(seed)).reshape(count, *self.shape)

        return list(network.parameters()), image_at

    def loss(self, image: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
        """Relative squared distance plus total variation, summed over images."""
        return (squared_distance(self.likelihood, image, target) + 0.05 * variation(image)).sum()


PEERS = {
    peer.name: peer for peer in (InversionNetwork, PositionDecoder, RegularisedInversion, TokenOptimization, ImagePrior)
}


def squared_distance(likelihood: Likelihood, image: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
    """``[B]``: squared distance to the observation over its own square."""
    values, weights = target
    norm = (values.abs().square().sum(-1) * weights).sum(1)
    return likelihood(image, target) * likelihood.noise / norm


def variation(image: Tensor) -> Tensor:
    """``[B]``: mean absolute difference of neighbouring pixels."""
    down, across = image.diff(dim=2).abs(), image.diff(dim=3).abs()
    return down.mean((1, 2, 3)) + across.mean((1, 2, 3))


def boundaries(image: Tensor, patch: int) -> Tensor:
    """``[B]``: root mean squared step from one patch to the next (GradViT's prior)."""
    down = image.diff(dim=2)[:, :, patch - 1 :: patch].square().mean((1, 2, 3))
    return (down + image.diff(dim=3)[..., patch - 1 :: patch].square().mean((1, 2, 3)) + 1e-12).sqrt()


def as_they_come(tokens: TokenBatch, count: int) -> Tensor:
    """``[B, count, d]``: patch tokens in the order received, zeros behind the last."""
    padded, _ = tokens.padded()
    patches = padded[:, tokens.prefix : tokens.prefix + count]
    return nn.functional.pad(patches, (0, 0, 0, count - patches.shape[1]))


def upsampler(channels: int, patch: int) -> nn.Module:
    """Transposed convolutions with batch normalisation, doubling the side until a cell is a patch."""
    widths, layers = [128, 64, 32, 32, 32], [nn.Conv2d(channels, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU()]
    for i in range(round(math.log2(patch))):
        before, after = widths[min(i, 4)], widths[min(i + 1, 4)]
        layers += [nn.ConvTranspose2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
    last = widths[min(round(math.log2(patch)), 4)]
    return nn.Sequential(*layers, nn.Conv2d(last, 3, 3, padding=1), nn.Sigmoid())


class _Locator(nn.Module):
    """Tokens ``[B, t, d]`` with their mask -> ``[B, t, P]``, scores of the places of each."""

    def __init__(self, features: int, places: int, width: int = 96) -> None:
        super().__init__()
        self.embed, self.blocks = nn.Linear(features, width), nn.ModuleList(Block(width) for _ in range(2))
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, places))

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x, mask=mask)
        return self.out(x)


class _Hourglass(nn.Module):
    """``count`` skip networks side by side; ``[1, 16 count, H, W]`` -> ``[1, 3 count, H, W]``."""

    def __init__(self, count: int, channels: tuple[int, ...]) -> None:
        super().__init__()

        def convolution(before: int, after: int, stride: int = 1, side: int = 3) -> nn.Module:
            layer = nn.Conv2d(before * count, after * count, side, stride, side // 2, groups=count)
            return nn.Sequential(layer, nn.GroupNorm(after * count, after * count), nn.LeakyReLU(0.2))

        before = (16, *channels[:-1])
        self.down = nn.ModuleList(convolution(b, a, 2) for b, a in zip(before, channels, strict=True))
        self.skip = nn.ModuleList(convolution(b, 4, side=1) for b in before)
        self.up = nn.ModuleList(convolution(a, b) for b, a in zip(before, channels, strict=True))
        self.beside = nn.ModuleList(convolution(4, b, side=1) for b in before)
        self.out = nn.Conv2d(16 * count, 3 * count, 1, groups=count)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for down, skip in zip(self.down, self.skip, strict=True):
            skips.append(skip(x))
            x = down(x)
        for up, beside, kept in reversed(list(zip(self.up, self.beside, skips, strict=True))):
            x = interpolate(up(x), size=kept.shape[-2:], mode="bilinear") + beside(kept)
        return self.out(x).sigmoid()


def _real(values: Tensor) -> Tensor:
    return torch.view_as_real(values).flatten(-2) if values.is_complex() else values
