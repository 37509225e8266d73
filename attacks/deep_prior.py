"""White-box inversion with an untrained convolutional network for a prior, and no auxiliary image to learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from atm.link import Link
from atm.progress import track
from atm.threat import Knowledge, Observation, ThreatModel
from attacks.alignment import ALIGNABLE
from attacks.base import History, require
from attacks.objective import WHITE_BOX, Likelihood, select


@dataclass
class DeepPrior:
    """The likelihood of what arrived, maximised over the weights of an untrained network (Ulyanov et al. 2018).

    One network per image, side by side as groups of the same convolutions. The structure of the network is all the
    prior there is; the noise on its input shrinks in steps, and a small total variation keeps it smooth. Images are the
    average over the last steps.

    Attributes:
        steps: of Adam.
        rate: learning rate.
        variation: weight of the total variation, relative to the likelihood per pixel.
        width: channels of the network.
        batch: images that are optimised at a time.
    """

    name: ClassVar[str] = "deep_prior"
    needs: ClassVar[Knowledge] = WHITE_BOX
    needs_one_of: ClassVar[tuple[Knowledge, ...]] = ALIGNABLE
    QUICK: ClassVar[dict[str, Any]] = {"steps": 25, "width": 8}

    steps: int = 400
    rate: float = 1e-2
    variation: float = 0.05
    width: int = 16
    batch: int = 50

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Measure the noise; nothing else is learned from the auxiliary images."""
        require(self, threat)
        self.likelihood, self.size = Likelihood(link, threat, images), images.shape[-1]

    def reconstruct(self, seen: Observation) -> Tensor:
        """What the networks show at the end."""
        target, self.history = self.likelihood.target(seen), History()
        chunks = list(torch.arange(len(seen)).split(self.batch))
        return torch.cat([self._descend(select(target, rows)) for rows in track(chunks, "deep image prior")])

    def _descend(self, target: tuple[Tensor, Tensor]) -> Tensor:
        count = len(target[0])
        network = _Hourglasses(count, self.width, self.size)
        optimizer = torch.optim.Adam(network.parameters(), self.rate)
        fixed = torch.rand(1, count * self.width, network.coarsest, network.coarsest) * 0.1
        average = torch.zeros(count, 3, self.size, self.size)
        last = max(self.steps // 10, 1)
        for step in range(self.steps):
            noise = 0.05 * 0.5 ** (4 * step / self.steps)
            with torch.enable_grad():
                image = network(fixed + noise * torch.randn_like(fixed))
                fit = self.likelihood(image, target)
                rough = _variation(image).sum() * self.variation * fit.detach().mean()
                (fit.sum() + rough).backward()
            weights = [p.grad for p in network.parameters() if p.grad is not None]
            self.history.step(fit.detach().sum(), torch.stack([g.norm() for g in weights]).norm(), step)
            optimizer.step()
            optimizer.zero_grad()
            if step >= self.steps - last:
                average += image.detach() / last
        return average.clamp(0, 1)


class _Hourglasses(nn.Module):
    """``count`` separate decoders from noise to images, as groups of one; three doublings of the resolution."""

    def __init__(self, count: int, width: int, size: int, doublings: int = 3) -> None:
        super().__init__()
        self.count, self.size, self.coarsest = count, size, max(size >> doublings, 1)
        hidden = count * width
        self.convolutions = nn.ModuleList(
            nn.Conv2d(hidden, hidden, 3, padding=1, groups=count) for _ in range(doublings + 1)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(count, hidden) for _ in range(doublings + 1))
        self.last = nn.Conv2d(hidden, 3 * count, 3, padding=1, groups=count)

    def forward(self, x: Tensor) -> Tensor:
        """``[1, count * width, h, h]`` -> ``[count, 3, H, W]`` in [0, 1]."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = nn.functional.leaky_relu(norm(convolution(x)), 0.2)
            side = min(x.shape[-1] * 2, self.size)
            x = x if x.shape[-1] == self.size else interpolate(x, size=(side, side), mode="bilinear")
        return self.last(x).sigmoid().view(self.count, 3, self.size, self.size)


def _variation(images: Tensor) -> Tensor:
    """Total variation ``[B]``: mean absolute difference of neighbouring pixels."""
    down, across = images.diff(dim=-2).abs(), images.diff(dim=-1).abs()
    return down.mean((1, 2, 3)) + across.mean((1, 2, 3))
