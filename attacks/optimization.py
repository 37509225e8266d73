"""White-box inversion: search the image whose tokens, after merging and coding, are the observed ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from kornia.losses import total_variation
from torch import Tensor

from atm.link import Link
from atm.progress import track
from atm.threat import Knowledge, Observation, ThreatModel
from atm.tokens import NOWHERE, TokenBatch
from attacks.base import History
from attacks.ridge import Ridge


@dataclass
class Optimization:
    """Gradient descent through encoder, merge and codec, with a total-variation prior (Mahendran and Vedaldi 2015).

    The candidate is matched anew at each step: its own merges are taken, and each patch compares the token that it
    ended in with the one that it ended in at the device. From several starts (the ridge estimate, the mean auxiliary
    image, grey) each image keeps the one whose tokens come closest to the observation, which the adversary can see.

    Attributes:
        steps: of Adam, from every start.
        rate: learning rate, on pixels.
        smoothness: weight of the total variation per pixel.
        batch: images that are optimised at a time.
    """

    name: ClassVar[str] = "optimization"
    needs: ClassVar[Knowledge] = (
        Knowledge.WEIGHTS | Knowledge.CODEC | Knowledge.POLICY | Knowledge.MERGE_MAP | Knowledge.AUXILIARY
    )

    steps: int = 60
    rate: float = 0.03
    smoothness: float = 0.02
    batch: int = 64

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Keep the system, and prepare the starts."""
        threat.require(self.needs, self.name)
        self.link = link
        self.ridge = Ridge()
        self.ridge.fit(link, threat, images)
        self.mean = images.mean(0)
        seen = threat.tap_images(link, images)
        self.scale = seen.tokens.values.std(0).clamp_min(1e-6)

    def reconstruct(self, seen: Observation) -> Tensor:
        """The best candidate of all starts."""
        rough = self.ridge.reconstruct(seen)
        self.history = History()
        starts = [rough, self.mean.expand_as(rough), torch.full_like(rough, 0.5)]
        parts = []
        for rows in track(list(torch.arange(len(seen)).split(self.batch)), "optimising images"):
            target = seen.tokens.select(rows)
            tried = [self._descend(start[rows], target) for start in starts]
            losses = torch.stack([loss for _, loss in tried])
            images = torch.stack([image for image, _ in tried])
            parts.append(images[losses.argmin(0), torch.arange(len(rows))])
        return torch.cat(parts)

    def _descend(self, start: Tensor, target: TokenBatch) -> tuple[Tensor, Tensor]:
        """From one start: images ``[B, 3, H, W]`` and their objective ``[B]``."""
        x = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([x], self.rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps, self.rate / 10)
        with torch.enable_grad():
            for step in range(self.steps):
                optimizer.zero_grad()
                loss = self._objective(x, target).sum()
                loss.backward()
                assert x.grad is not None
                prior = torch.autograd.grad(self._prior(x).sum(), x)[0]
                self.history.step(loss.detach(), (x.grad - prior).norm(), step)
                optimizer.step()
                schedule.step()
                x.data.clamp_(0, 1)
        with torch.no_grad():
            return x.detach(), self._objective(x, target)

    def _objective(self, x: Tensor, target: TokenBatch) -> Tensor:
        tokens, symbols, side, _ = self.link.send(x)
        candidate = self.link.receive(symbols, side, tokens, self.link.channel.snr_db)
        assert candidate.source is not None and target.source is not None
        both = ((candidate.source != NOWHERE) & (target.source != NOWHERE))[:, :, None]  # dropped patches tell nothing
        distance = ((candidate.per_patch() - target.per_patch()) / self.scale * both).square().mean((1, 2))
        if target.prefix:
            distance = distance + ((candidate.protected() - target.protected()) / self.scale).square().mean((1, 2))
        return distance + self._prior(x)

    def _prior(self, x: Tensor) -> Tensor:
        pixels = x.shape[-1] * x.shape[-2]
        return self.smoothness * total_variation(x).flatten(1).mean(1) / pixels * 3
