"""A learned inversion network, trained on what the adversary really sees of her own images."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
from kornia.losses import ssim_loss
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from atm.link import Link
from atm.progress import track
from atm.threat import Knowledge, Observation, ThreatModel
from attacks.base import History, from_patches, held_out, patch_features
from attacks.ridge import Ridge


@dataclass
class Decoder:
    """A transformer over the patches that corrects the ridge estimate, then a few convolutions over the pixels.

    The correction starts at zero, so the network never starts behind the closed-form attack. Training ends when the
    loss on the held-out images has not fallen for a while, and the weights that were best there are kept.

    Attributes:
        width: of the transformer.
        layers: of the transformer.
        batch: images per step.
        rate: peak learning rate of AdamW.
        steps: at most so many; the schedule is a cosine over them.
        patience: checks without a better held-out loss after which training ends.
        every: steps between two checks.
    """

    name: ClassVar[str] = "decoder"
    needs: ClassVar[Knowledge] = Knowledge.AUXILIARY | Knowledge.MERGE_MAP

    width: int = 128
    layers: int = 3
    batch: int = 64
    rate: float = 1e-3
    steps: int = 800
    patience: int = 4
    every: int = 100

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Send the auxiliary images, solve ridge, then train the correction."""
        threat.require(self.needs, self.name)
        self.ridge = Ridge()
        self.ridge.fit(link, threat, images)
        features = patch_features(threat.tap_images(link, images))
        start = self.ridge.linear(features)
        train, validation = held_out(len(images))
        self._mean, self._scale = self.ridge.mean, self.ridge.scale
        self.network = InversionNetwork(features.shape[1:], self.ridge.grid, images.shape[-1], self.width, self.layers)
        optimizer = torch.optim.AdamW(self.network.parameters(), self.rate, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.rate, total_steps=self.steps, pct_start=0.1)

        best, kept, stale = self._loss_on(features, start, images, validation), None, 0
        self.history = History()
        self.history.check(best)
        order = torch.randperm(len(train))
        for step in track(range(1, self.steps + 1), "training the decoder"):
            if len(order) < self.batch:
                order = torch.randperm(len(train))
            rows, order = train[order[: self.batch]], order[self.batch :]
            loss = reconstruction_loss(self._run(features[rows], start[rows]), images[rows])
            optimizer.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.history.step(loss.detach(), norm)
            optimizer.step()
            schedule.step()
            if step % self.every == 0 or step == self.steps:
                held = self._loss_on(features, start, images, validation)
                self.history.check(held)
                stale = 0 if held < best else stale + 1
                if held < best:
                    best, kept = held, copy.deepcopy(self.network.state_dict())
                if stale >= self.patience:
                    break
        if kept is None:  # nothing beat the ridge estimate on the held-out images
            nn.init.zeros_(self.network.head.weight)
            nn.init.zeros_(self.network.head.bias)
            self.network.reset_refinement()
        else:
            self.network.load_state_dict(kept)
        self.network.eval()

    @torch.no_grad()
    def reconstruct(self, seen: Observation) -> Tensor:
        """The corrected estimate, clipped to [0, 1]."""
        features = patch_features(seen)
        start = self.ridge.linear(features)
        parts = zip(features.split(256), start.split(256), strict=True)
        return torch.cat([self._run(f, s) for f, s in parts]).clamp(0, 1)

    def _run(self, features: Tensor, start: Tensor) -> Tensor:
        with torch.autocast(features.device.type, torch.bfloat16):
            return self.network((features - self._mean) / self._scale, start).float()

    @torch.no_grad()
    def _loss_on(self, features: Tensor, start: Tensor, images: Tensor, rows: Tensor) -> float:
        losses = [reconstruction_loss(self._run(features[r], start[r]), images[r]) * len(r) for r in rows.split(256)]
        return float(torch.stack(losses).sum()) / len(rows)


def reconstruction_loss(estimate: Tensor, images: Tensor) -> Tensor:
    """L1 plus half of 1 - SSIM: the first fixes brightness and colour, the second structure."""
    return l1_loss(estimate, images) + ssim_loss(estimate, images, window_size=11)


class InversionNetwork(nn.Module):
    """Patch features and a first estimate -> image; equal to the first estimate until it is trained.

    Args:
        shape: ``(P, f)`` of the features.
        grid: patches down and across.
        size: side of the image in pixels.
        width: of the transformer.
        layers: of the transformer.
    """

    def __init__(self, shape: torch.Size, grid: tuple[int, int], size: int, width: int, layers: int) -> None:
        super().__init__()
        patches, features = shape
        self.grid = grid
        self.embed = nn.Linear(features, width)
        self.position = nn.Parameter(torch.randn(patches, width) * 0.02)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 3 * (size // grid[0]) * (size // grid[1]))
        self.refine = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(32, 3, 3, padding=1),
        )
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.reset_refinement()

    def reset_refinement(self) -> None:
        """Make the convolutions add nothing."""
        last = self.refine[-1]
        assert isinstance(last, nn.Conv2d) and last.bias is not None
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, features: Tensor, start: Tensor) -> Tensor:
        """Features ``[B, P, f]`` and estimate ``[B, 3, H, W]`` -> corrected estimate ``[B, 3, H, W]``."""
        x = self.embed(features) + self.position
        for block in self.blocks:
            x = block(x)
        estimate = start + from_patches(self.head(self.norm(x)), self.grid)
        return estimate + self.refine(estimate)
