"""Attacks that people use today, written anew from their papers and public code, to be measured beside ours.

They are what was published: none is trained on merged, coded, noisy tokens. Where a paper leaves something open they
get what helps them: our schedule, which keeps the weights that are best on held-out images; a decoder that begins with
the mean colour; the merge map, where the adversary knows it; and where it is hidden, our own recovery of it for the
white-box ones, whose papers assume that positions are known. ``tests/benchmarks`` shows that each undoes a leak.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, interpolate, mse_loss

from atm.knowledge import Knowledge
from atm.signals import arrays
from atm.threat import Observation
from atm.tokens import TokenBatch
from attacks.base import Attack, held_out, require
from attacks.budget import Budget
from attacks.network import Block
from attacks.objective import WHITE_BOX, Likelihood, Target, real_values
from attacks.oracle import Oracle
from attacks.training import Schedule, train

MOST_STEPS = 20_000  # the budget leaves every peer fewer


class InversionNetwork(Attack):
    """He, Zhang and Lee (2019), black box; also AIJack's ``Generator_Attack``: transposed convolutions from feature map
    to image, trained with the squared error. It takes tokens by patch if it has the map, else as they come.

    Args:
        steps: of the training, at most.
    """

    name: ClassVar[str] = "inversion-network"
    needs: ClassVar[Knowledge] = Knowledge.AUXILIARY

    def __init__(self, steps: int = MOST_STEPS) -> None:
        self.schedule = Schedule(steps=steps)

    def fit(self, oracle: Oracle) -> None:
        """Send the auxiliary images and train."""
        require(self, oracle.threat)
        self.grid = arrays(oracle.signal).grid
        features = self._map(oracle.observe())
        self.mean, self.scale = features.mean((0, 2, 3), True), features.std((0, 2, 3), keepdim=True).clamp_min(1e-6)
        self.network = decoder((features - self.mean) / self.scale, oracle, self.schedule, self.name)

    @torch.no_grad()
    def reconstruct(self, seen: Observation) -> Tensor:
        """One forward pass: ``[B, 3, H, W]`` in [0, 1]."""
        return self.network((self._map(seen) - self.mean) / self.scale)

    def _map(self, seen: Observation) -> Tensor:
        """``[B, d, rows, columns]``."""
        if seen.tokens.source is not None:
            patches = seen.tokens.per_patch()
        else:
            count = self.grid[0] * self.grid[1]
            patches = as_they_come(seen.tokens, count)
        return patches.transpose(1, 2).unflatten(2, self.grid)


class PositionDecoder(Attack):
    """Leggio et al. (2026, SARA): a transformer gives each token one position, a convolutional decoder does the rest.

    Both learn from unreduced tokens. Positions are assigned so that no two tokens get the same and their probabilities
    multiply to the most (the Hungarian method, as DRAG reorders tokens); what stays empty is the mean token. Where the
    adversary has the merge map, nothing needs recovering: each patch gets its token.

    Args:
        steps: of the decoder's training, at most; the positions take 1000 of their own at most.
    """

    name: ClassVar[str] = "position-decoder"
    needs: ClassVar[Knowledge] = WHITE_BOX

    def __init__(self, steps: int = MOST_STEPS) -> None:
        self.schedule = Schedule(steps=steps)

    def fit(self, oracle: Oracle) -> None:
        """Run the device without merging on the auxiliary images, and train both."""
        require(self, oracle.threat)
        self.grid, policy = arrays(oracle.signal).grid, oracle.policy()
        plain = oracle.under(replace(policy, thresholds=(1.0,) * policy.depth, remove=()))
        tokens = plain.rehearse().tokens
        patches = tokens.per_patch()
        self.mean, self.scale = patches.mean((0, 1)), patches.std((0, 1)).clamp_min(1e-6)
        self.locate = None
        if Knowledge.MERGE_MAP not in oracle.knows:  # without a part, the decoder would get what the positions leave
            half = oracle.budget.part(1 / 2, "positions")
            self.locate = self._locator(self._scaled(tokens), len(oracle.images), half)
        features = ((patches - self.mean) / self.scale).transpose(1, 2).unflatten(2, self.grid)
        self.network = decoder(features, oracle, self.schedule, self.name)

    @torch.no_grad()
    def reconstruct(self, seen: Observation) -> Tensor:
        """Place the tokens, then decode: ``[B, 3, H, W]`` in [0, 1]."""
        tokens = self._scaled(seen.tokens)
        grid = tokens.per_patch() if self.locate is None else self._placed(tokens, self.locate)
        return self.network(grid.transpose(1, 2).unflatten(2, self.grid))

    def _scaled(self, tokens: TokenBatch) -> TokenBatch:
        return tokens.with_values((tokens.values - self.mean) / self.scale)

    def _locator(self, tokens: TokenBatch, images: int, budget: Budget) -> nn.Module:
        source, count = tokens.source, self.grid[0] * self.grid[1]
        assert source is not None
        locate = _Locator(tokens.values.shape[1], count)

        def loss_on(chosen: Tensor) -> Tensor:
            scores = locate(*tokens.select(chosen).padded()).transpose(1, 2)  # [B, P, t]
            truth = torch.zeros(scores.shape[0], scores.shape[2], dtype=torch.long)
            truth.scatter_(1, source[chosen], torch.arange(count).expand(len(chosen), -1))
            return cross_entropy(scores[:, :, tokens.prefix :], truth[:, tokens.prefix :])

        schedule = Schedule(steps=min(self.schedule.steps, 1000), patience=3)
        train(locate, loss_on, *held_out(images), schedule, "the positions", budget)
        return locate

    def _placed(self, tokens: TokenBatch, locate: nn.Module) -> Tensor:
        """``[B, P, d]``: each token where it most likely belongs, zeros where there is none."""
        padded, mask = tokens.padded()
        likely = locate(padded, mask).log_softmax(-1).double()
        grid = padded.new_zeros(len(tokens), likely.shape[2], padded.shape[2])
        for image, length in enumerate(tokens.counts):
            token, cell = linear_sum_assignment(likely[image, tokens.prefix : length].numpy(), maximize=True)
            grid[image, torch.as_tensor(cell)] = padded[image, torch.as_tensor(token) + tokens.prefix]
        return grid


class _Search(Attack):
    """Descent on an image, or on what generates one, until the tokens agree with those observed.

    As in the public code of all three, what is searched is the victim's normalised input, from zero. They take up to
    20,000 steps at rates of 0.01 to 0.05. There is time for about 100 here: the two that search pixels get the rate, of
    three tried for each, that came closest to photographs in so many; the third keeps its own.

    Args:
        steps: at most.
    """

    name: ClassVar[str]
    needs: ClassVar[Knowledge] = WHITE_BOX
    rate: ClassVar[float]
    """Of Adam, on the normalised input."""

    def __init__(self, steps: int = MOST_STEPS) -> None:
        self.steps = steps

    def fit(self, oracle: Oracle) -> None:
        """Nothing is learned but the map, where it is hidden."""
        require(self, oracle.threat)
        self.budget, self.likelihood, self.shape = oracle.budget, Likelihood(oracle), oracle.signal.shape
        self.encoder, self.patch = oracle.own_device().encoder, arrays(oracle.signal).patch[1]

    def reconstruct(self, seen: Observation) -> Tensor:
        """All images at once, for as many steps as there is time; the last iterate ``[B, 3, H, W]`` is the answer."""
        target = self.likelihood.target(seen)
        parameters, image_at = self.start(len(seen))
        optimizer = torch.optim.Adam(parameters, self.rate)

        def slope(done: float) -> None:
            optimizer.zero_grad()
            self.loss(image_at(done), target).sum().backward()
            self.clip(parameters, len(seen))

        steps = self.budget.steps("searching", self.steps, lambda: slope(0.0))
        for step in range(steps):
            slope(step / steps)
            optimizer.step()
        with torch.no_grad():
            return image_at(1.0).clamp(0, 1)

    def start(self, count: int) -> tuple[list[Tensor], Callable[[float], Tensor]]:
        """What is searched, and the ``count`` images that it stands for when a fraction of the search is done."""
        normalised = torch.zeros(count, *self.shape).requires_grad_()
        return [normalised], lambda done: self.encoder.mean + self.encoder.std * normalised

    def clip(self, parameters: list[Tensor], count: int) -> None:
        """Nothing."""

    def loss(self, image: Tensor, target: Target) -> Tensor:
        """Images ``[B, 3, H, W]`` and what was observed -> ``[B]``."""
        raise NotImplementedError


class RegularisedInversion(_Search):
    """He, Zhang and Lee (2019), white box: squared feature distance and total variation.

    They choose the weight of the second by hand for each layer, from 0 to 1e5; theirs for the middle of their network,
    10, did best here too, with the distance relative to what was observed.
    """

    name: ClassVar[str] = "regularised-inversion"
    rate: ClassVar[float] = 0.2
    smooth: ClassVar[float] = 10.0

    def loss(self, image: Tensor, target: Target) -> Tensor:
        """Relative squared distance plus total variation."""
        smoothness = squared_variation(self.encoder.normalise(image))
        return squared_distance(self.likelihood, image, target) + self.smooth * smoothness


class TokenOptimization(_Search):
    """DRAG's ``run_rMLE`` (ICML 2025), its optimisation without a generator: cosine distance of tokens, total variation
    and a prior on patch boundaries; Adam, gradients clipped at 1.
    """

    name: ClassVar[str] = "drag-tokens"
    rate: ClassVar[float] = 0.2

    def loss(self, image: Tensor, target: Target) -> Tensor:
        """Cosine distance, averaged over tokens, and both priors."""
        prior = boundaries(self.encoder.normalise(image), self.patch)
        return cosine_distance(self.likelihood, image, target) + 1.5 * variation(image) + 1e-3 * prior

    def clip(self, parameters: list[Tensor], count: int) -> None:
        """Image by image, as if each were alone."""
        clip_each(parameters, count)


class ImagePrior(TokenOptimization):
    """Deep image prior as DRAG's ``run_likelihood_maximization`` has it (after Singh et al. 2021): the weights of an
    untrained convolutional network for each image; noise on its input falls as the search goes on. The network has the
    published structure, but three levels and kernels of 3 instead of four and 7, 7, 5, 5: within the time it takes
    about four times as many steps and gets further.
    """

    name: ClassVar[str] = "deep-image-prior"
    rate: ClassVar[float] = 0.01

    def start(self, count: int) -> tuple[list[Tensor], Callable[[float], Tensor]]:
        """Networks side by side, as groups of one convolution."""
        network = _Hourglass(count)
        seed = torch.randn(1, self.shape[0] * count, *self.shape[1:])

        def image_at(done: float) -> Tensor:
            noise = noise_at(done)
            return network(seed + noise * torch.randn_like(seed) if noise else seed).reshape(count, *self.shape)

        return list(network.parameters()), image_at

    def loss(self, image: Tensor, target: Target) -> Tensor:
        """Cosine distance, averaged over tokens, and both priors."""
        normalised = self.encoder.normalise(image)
        priors = 0.05 * variation(normalised) + 1e-3 * boundaries(normalised, self.patch)
        return cosine_distance(self.likelihood, image, target) + priors


_ALL = (InversionNetwork, PositionDecoder, RegularisedInversion, TokenOptimization, ImagePrior)
PEERS: dict[str, type[Attack]] = {peer.name: peer for peer in _ALL}


def squared_distance(likelihood: Likelihood, image: Tensor, target: Target) -> Tensor:
    """``[B]``: squared distance to the observation over its own square."""
    values, weights = target.values, target.weights
    norm = (values.abs().square().sum(-1) * weights).sum(1)
    return likelihood(image, target) * likelihood.noise / norm


def cosine_distance(likelihood: Likelihood, image: Tensor, target: Target) -> Tensor:
    """``[B]``: one minus the cosine of each token with the one observed, averaged over tokens."""
    values, weights = target.values, target.weights
    similarity = cosine_similarity(real_values(likelihood.sent(image, target.source)), real_values(values), -1)
    return ((1 - similarity) * weights).sum(1) / weights.sum(1)


def variation(image: Tensor) -> Tensor:
    """``[B]``: absolute differences of neighbouring pixels, summed and divided by the number of values (DRAG)."""
    down, across = image.diff(dim=2).abs(), image.diff(dim=3).abs()
    return (down.sum((1, 2, 3)) + across.sum((1, 2, 3))) / image[0].numel()


def squared_variation(image: Tensor) -> Tensor:
    """``[B]``: mean squared difference of neighbouring pixels, downwards plus across (He et al.)."""
    return image.diff(dim=2).square().mean((1, 2, 3)) + image.diff(dim=3).square().mean((1, 2, 3))


def boundaries(image: Tensor, patch: int) -> Tensor:
    """``[B]``: the norm of the step across each boundary of rows or columns of patches, summed (GradViT)."""
    down = image.diff(dim=2)[:, :, patch - 1 :: patch].square().sum((1, 3))
    across = image.diff(dim=3)[..., patch - 1 :: patch].square().sum((1, 2))
    return torch.cat([down, across], 1).add(1e-12).sqrt().sum(1)  # the root has no gradient at 0, where it starts


def clip_each(parameters: list[Tensor], count: int) -> None:
    """Scale the gradients of each of ``count`` images, side by side in the first dimension, to a norm of at most 1."""
    gradients = [p.grad.view(count, -1) for p in parameters if p.grad is not None]
    norm = torch.stack([gradient.square().sum(1) for gradient in gradients]).sum(0).sqrt().clamp_min(1.0)
    for gradient in gradients:
        gradient /= norm[:, None]


def noise_at(done: float) -> float:
    """Deviation of the noise on the deep image prior's input (itself of deviation 1), after a fraction of its steps."""
    return next((noise for until, noise in ((0.5, 5.0), (0.75, 1.0), (0.875, 0.5)) if done <= until), 0.0)


def as_they_come(tokens: TokenBatch, count: int) -> Tensor:
    """``[B, count, d]``: patch tokens in the order received, zeros behind the last."""
    padded, _ = tokens.padded()
    patches = padded[:, tokens.prefix : tokens.prefix + count]
    return nn.functional.pad(patches, (0, 0, 0, count - patches.shape[1]))


def decoder(features: Tensor, oracle: Oracle, schedule: Schedule, name: str) -> nn.Module:
    """A network from feature maps ``[N, d, rows, columns]`` to the auxiliary images, trained by squared error."""
    images = oracle.images
    network = upsampler(features.shape[1], images.shape[-1] // features.shape[-1], images.mean().mean((1, 2)))

    def loss_on(rows: Tensor) -> Tensor:
        return mse_loss(network(features[rows]), images[rows])

    train(network, loss_on, *held_out(len(images)), schedule, f"the {name}", oracle.budget)
    return network


def upsampler(channels: int, patch: int, colour: Tensor) -> nn.Module:
    """Transposed convolutions with batch normalisation, doubling the side until a cell is a patch.

    Args:
        channels: of the feature map.
        patch: side of a patch in pixels, a power of two.
        colour: ``[3]`` in [0, 1]; untrained the network answers with about this one.
    """
    widths, layers = [128, 64, 32, 32, 32], [nn.Conv2d(channels, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU()]
    for i in range(round(math.log2(patch))):
        before, after = widths[min(i, 4)], widths[min(i + 1, 4)]
        layers += [nn.ConvTranspose2d(before, after, 4, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
    last = nn.Conv2d(widths[min(round(math.log2(patch)), 4)], 3, 3, padding=1)
    assert last.bias is not None
    with torch.no_grad():
        last.bias.copy_(colour.clamp(0.01, 0.99).logit())
    return nn.Sequential(*layers, last, nn.Sigmoid())


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
    """``count`` skip networks side by side, ``[1, 3 count, H, W]`` -> the same shape."""

    def __init__(self, count: int, channels: tuple[int, ...] = (16, 32, 64), side: int = 3) -> None:
        super().__init__()
        self.count = count

        def convolution(before: int, after: int, side: int, *, pool: bool = False) -> nn.Module:
            layer = nn.Conv2d(before * count, after * count, side, padding=side // 2, groups=count)
            then = (self._norm(after), nn.LeakyReLU(0.2))
            return nn.Sequential(layer, nn.AvgPool2d(2), *then) if pool else nn.Sequential(layer, *then)

        levels = list(zip((3, *channels[:-1]), channels, (*channels[1:], channels[-1]), strict=True))
        self.skip = nn.ModuleList(convolution(before, 4, 1) for before, _, _ in levels)
        self.down = nn.ModuleList(
            nn.Sequential(convolution(before, here, side, pool=True), convolution(here, here, side))
            for before, here, _ in levels
        )
        self.up = nn.ModuleList(
            nn.Sequential(self._norm(4 + below), convolution(4 + below, here, side), convolution(here, here, 1))
            for _, here, below in levels
        )
        self.out = nn.Conv2d(channels[0] * count, 3 * count, 1, groups=count)

    def _norm(self, channels: int) -> nn.Module:
        """Batch normalisation of a batch of one image."""
        return nn.GroupNorm(channels * self.count, channels * self.count)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for down, skip in zip(self.down, self.skip, strict=True):
            skips.append(skip(x))
            x = down(x)
        for up, kept in reversed(list(zip(self.up, skips, strict=True))):
            x = interpolate(x, size=kept.shape[-2:], mode="nearest")
            beside = [part.unflatten(1, (self.count, -1)) for part in (kept, x)]
            x = up(torch.cat(beside, 2).flatten(1, 2))
        return self.out(x).sigmoid()
