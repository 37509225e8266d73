"""Inversion without the victim's weights: through a stand-in that was taught to answer as the device does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from atm.link import Link
from atm.threat import Knowledge, Observation, ThreatModel
from attacks.alignment import ALIGNABLE, aligned
from attacks.base import held_out, patch_features, require, to_patches
from attacks.budget import remaining, spent, time_budget
from attacks.network import Block
from attacks.ridge import Ridge
from attacks.training import Schedule, train

WEIGHTS = (0.0, 0.1, 0.3, 1.0)  # of the likelihood; the held-out images choose, and 0 keeps the start


@dataclass
class Shadow:
    """Queries the device, distils a small network from the answers, and descends through it (He et al. 2019).

    The stand-in also answers for auxiliary images for which no query is left: with noise as large as its own errors,
    they join the pairs of a ridge regression. The better of this and of the one on queried pairs alone, judged on
    held-out queried images, is where the descent starts, so it never starts behind ridge.

    Attributes:
        width: of the stand-in.
        layers: of the stand-in.
        steps: of Adam on the candidates.
        rate: learning rate of the candidates, in grey levels from 0 to 1.
        schedule: of the stand-in's training.
    """

    name: ClassVar[str] = "shadow"
    needs: ClassVar[Knowledge] = Knowledge.AUXILIARY
    needs_one_of: ClassVar[tuple[Knowledge, ...]] = ALIGNABLE
    instead_of: ClassVar[Knowledge] = Knowledge.WEIGHTS  # whoever has them needs no stand-in
    QUICK: ClassVar[dict[str, Any]] = {"steps": 10, "schedule": Schedule(steps=100, every=50)}

    width: int = 128
    layers: int = 2
    steps: int = 50
    rate: float = 0.01
    schedule: Schedule = field(default_factory=lambda: Schedule(steps=3000))
    unsent: Tensor | None = field(default=None, repr=False)

    def study(self, images: Tensor) -> None:
        """Auxiliary images for which no query is left."""
        self.unsent = images

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Query the device, train the stand-in, and choose the start and the descent's weight."""
        require(self, threat)
        self.grid = link.encoder.patch_grid
        self.align = aligned(link, threat, images)
        seen = patch_features(self.align(threat.tap_images(link, images)))
        self.mean = seen.mean(0)
        self.scale = (seen - self.mean).flatten(0, 1).std(0).clamp_min(1e-6)
        answers, rows = self._standard(seen), held_out(len(images))
        self.network = _StandIn(
            images[0].numel() // seen.shape[1], seen.shape[1], seen.shape[2], self.width, self.layers
        )

        def loss_on(part: Tensor) -> Tensor:
            return mse_loss(self._answer(images[part]), answers[part])

        with time_budget(remaining() / 2):
            self.history = train(self.network, loss_on, *rows, self.schedule, "the stand-in")
        self.network.requires_grad_(False)
        held, truth = answers[rows[1]], images[rows[1]]
        self.noise = (self._answers(truth) - held).square().mean((0, 1)).clamp_min(1e-3)
        self.start = self._start(images, seen)

        def error(weight: float) -> float:
            return float((self._descend(self._begin(seen[rows[1]]), held, weight) - truth).square().mean())

        self.weight = min(WEIGHTS, key=error)

    def reconstruct(self, seen: Observation) -> Tensor:
        """The images whose answers are the likeliest, near the start."""
        features = patch_features(self.align(seen))
        return self._descend(self._begin(features), self._standard(features), self.weight)

    def _start(self, images: Tensor, seen: Tensor) -> Ridge:
        alone = self._ridge(seen, images)
        if self.unsent is None:
            return alone
        imitated = self._answers(self.unsent)
        imitated = (imitated + torch.randn_like(imitated) * self.noise.sqrt()) * self.scale + self.mean
        more = self._ridge(torch.cat([imitated, seen]), torch.cat([self.unsent, images]))
        rows = held_out(len(images))[1]
        return min(
            (alone, more), key=lambda r: float((r.linear(seen[rows]).clamp(0, 1) - images[rows]).square().mean())
        )

    def _ridge(self, features: Tensor, images: Tensor) -> Ridge:
        made = Ridge()
        made.grid = self.grid
        made.solve(features, images)
        return made

    def _begin(self, features: Tensor) -> Tensor:
        return self.start.linear(features).clamp(0, 1)

    def _descend(self, start: Tensor, answers: Tensor, weight: float) -> Tensor:
        """Images ``[B, 3, H, W]``: minus the log-likelihood under the stand-in, and the distance from the start."""
        if not weight:
            return start
        image = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([image], self.rate)
        spread = 0.01  # variance of the start's errors, in grey levels from 0 to 1
        for _ in range(self.steps):
            if spent():
                self.history.cut = True
                break
            with torch.enable_grad():
                unlikely = ((self._answer(image) - answers).square() / self.noise).sum() / answers.shape[-1]
                loss = weight * unlikely + (image - start).square().sum() / spread / image[0, :, 0, 0].numel()
                (image.grad,) = torch.autograd.grad(loss, image)
            optimizer.step()
            with torch.no_grad():
                image.clamp_(0, 1)
        return image.detach()

    def _standard(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.scale

    def _answer(self, images: Tensor) -> Tensor:
        answer: Tensor = self.network(to_patches(images, self.grid))
        return answer

    @torch.no_grad()
    def _answers(self, images: Tensor) -> Tensor:
        return torch.cat([self._answer(part) for part in images.split(256)])


class _StandIn(nn.Module):
    def __init__(self, pixels: int, patches: int, features: int, width: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Linear(pixels, width)
        self.position = nn.Parameter(torch.randn(patches, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, features))

    def forward(self, patches: Tensor) -> Tensor:
        """Patches ``[B, P, pixels]`` -> what each one's standardised features ``[B, P, f]`` will be."""
        x = self.embed(patches - 0.5) + self.position
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.head(x)
        return out
