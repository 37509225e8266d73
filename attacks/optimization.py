"""White-box inversion: the most probable image given what arrived and what the best decoder makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from atm.link import Link
from atm.progress import track
from atm.threat import Knowledge, Observation, ThreatModel
from attacks.alignment import ALIGNABLE
from attacks.base import History, from_patches, held_out, require, to_patches
from attacks.budget import spent
from attacks.decoder import Decoder
from attacks.objective import WHITE_BOX, Likelihood, select
from attacks.shared import fitted


@dataclass
class Optimization:
    """Gradient descent through encoder, merge, defence and codec, from the decoder's output.

    Searching the image whose tokens are nearest to the observed ones alone fits the channel's noise and gets worse than
    its start. So this maximises the posterior: the likelihood of what arrived (`attacks.objective`), and as prior a
    Gaussian around the decoder's output whose covariance within a patch is that of the decoder's own errors on held-out
    auxiliary images. Pixels are searched in the coordinates in which that prior is white, which also makes steep
    directions, where a decoder errs little, slow. Of several descents, each image keeps the most probable end.

    Attributes:
        steps: of Adam.
        rate: learning rate, in deviations of the prior.
        weight: of the likelihood, below 1 because the prior ignores that errors of neighbouring patches go together.
        starts: descents: the first from the decoder's output, the others from draws of the prior.
        batch: images that are optimised at a time.
    """

    name: ClassVar[str] = "optimization"
    needs: ClassVar[Knowledge] = WHITE_BOX
    needs_one_of: ClassVar[tuple[Knowledge, ...]] = ALIGNABLE
    order: ClassVar[int] = 3
    QUICK: ClassVar[dict[str, Any]] = {"steps": 12}

    steps: int = 60
    rate: float = 0.1
    weight: float = 0.3
    starts: int = 1
    batch: int = 64

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Fit the decoder, and measure its errors and the noise."""
        require(self, threat)
        self.grid = link.encoder.patch_grid
        self.start = fitted(Decoder, link, threat, images)
        self.likelihood = Likelihood(link, threat, images)
        rows = held_out(len(images))[1]
        estimate = self.start.reconstruct(threat.tap_images(link, images).select(rows))
        errors = to_patches(images[rows] - estimate, self.grid).flatten(0, 1)
        variances, directions = torch.linalg.eigh(errors.T @ errors / len(errors))
        self.spread = directions * variances.clamp_min(1e-7).sqrt()

    def reconstruct(self, seen: Observation) -> Tensor:
        """The most probable image that was found."""
        centre, target, self.history = self.start.reconstruct(seen), self.likelihood.target(seen), History()
        parts = []
        for rows in track(list(torch.arange(len(seen)).split(self.batch)), "optimising images"):
            tried = [self._descend(centre[rows], select(target, rows), bool(n)) for n in range(self.starts)]
            losses, images = (torch.stack(each) for each in zip(*tried, strict=True))
            parts.append(images[losses.argmin(0), torch.arange(len(rows))])
        return torch.cat(parts)

    def _descend(self, centre: Tensor, target: tuple[Tensor, Tensor], away: bool) -> tuple[Tensor, Tensor]:
        """Minus log-posterior ``[B]`` and images ``[B, 3, H, W]`` at the end of one descent."""
        shape = to_patches(centre, self.grid).shape
        offset = (torch.randn(shape) if away else torch.zeros(shape)).requires_grad_()
        optimizer = torch.optim.Adam([offset], self.rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps, self.rate / 10)
        for step in range(self.steps):
            if spent():
                self.history.cut = True
                break
            with torch.enable_grad():
                fit = self.weight * self.likelihood(self._image(centre, offset), target).sum()
                (of_tokens,) = torch.autograd.grad(fit, offset)
            offset.grad = of_tokens + offset.detach()  # of the prior: half the square of the offset
            self.history.step(fit.detach() + offset.detach().square().sum() / 2, of_tokens.norm(), step)
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            image = self._image(centre, offset)
            return self.weight * self.likelihood(image, target) + offset.square().sum((1, 2)) / 2, image

    def _image(self, centre: Tensor, offset: Tensor) -> Tensor:
        return (centre + from_patches(offset @ self.spread.T, self.grid)).clamp(0, 1)
