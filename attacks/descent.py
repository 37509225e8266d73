"""How the white-box attacks descend: from the decoder's output to the most probable image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from atm.link import Link
from atm.progress import track
from atm.threat import Knowledge, Observation, ThreatModel
from attacks.alignment import ALIGNABLE
from attacks.base import History, from_patches, held_out, require, to_patches
from attacks.budget import remaining, spent, time_budget
from attacks.decoder import Decoder
from attacks.objective import WHITE_BOX, Likelihood, select
from attacks.shared import fitted

WEIGHTS = (0.3, 0.1, 0.03)  # of the likelihood
CHOOSING = 16  # images of the adversary's own that choose among them


class Coordinates(Protocol):
    """What is searched in place of the pixels of ``B`` images; where the search begins is the decoder's output."""

    parameters: list[Tensor]
    """Leaves that ask for gradients."""

    def images(self) -> Tensor:
        """``[B, 3, H, W]``, not clipped."""
        ...

    def improbability(self) -> Tensor:
        """``[B]``: minus the logarithm of their prior, up to a constant."""
        ...


class Descent:
    """Gradient descent through encoder, merge, defence and codec, from the decoder's output.

    Searching the image whose tokens are nearest to the observed ones alone fits the channel's noise and gets worse than
    its start. So this maximises the posterior: the likelihood of what arrived (`attacks.objective`), and a prior around
    the decoder's output as wide as that decoder's own errors on held-out auxiliary images. How much the likelihood
    counts is chosen on some of these: less than a whole, because the prior ignores that errors of neighbouring patches
    go together, and little or nothing where merging is so strong that a candidate is mostly matched otherwise than the
    victim was. The attacks differ in the coordinates in which they search. Of the start and the ends of all descents,
    each image keeps the most probable.
    """

    name: ClassVar[str]
    needs: ClassVar[Knowledge] = WHITE_BOX
    needs_one_of: ClassVar[tuple[Knowledge, ...]] = ALIGNABLE

    steps: int
    rate: float
    batch: int

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Fit the decoder, and measure its errors and the noise."""
        require(self, threat)
        self.grid = link.encoder.patch_grid
        self.start = fitted(Decoder, link, threat, images)
        self.likelihood = Likelihood(link, threat, images)
        rows = held_out(len(images))[1]
        seen = threat.tap_images(link, images)
        estimates = self.start.reconstruct(seen.select(rows))
        self.spread = Spread(images[rows] - estimates, self.grid)
        own = rows[:CHOOSING]
        with time_budget(remaining() / 3):
            self.weight = self._choose(seen.select(own), images[own], estimates[:CHOOSING])

    def _choose(self, seen: Observation, images: Tensor, estimates: Tensor) -> float:
        """The weight with which the adversary's own images come out best; 0 where none improves on the decoder."""
        self.hurried, target = False, self.likelihood.target(seen)
        best, least = 0.0, float((estimates - images).square().mean())
        for number, weight in enumerate(WEIGHTS):
            self.weight, self.history = weight, History()
            with time_budget(remaining() / (len(WEIGHTS) - number)):
                found = self._search(estimates, target)
            self.hurried = self.hurried or self.history.cut
            error = float((found - images).square().mean())
            if error < least:
                best, least = weight, error
        return best

    def searches(self, centre: Tensor) -> Iterator[Coordinates]:
        """One for each descent from the decoder's output ``[B, 3, H, W]``."""
        raise NotImplementedError

    def reconstruct(self, seen: Observation) -> Tensor:
        """The most probable image that was found."""
        centre, self.history = self.start.reconstruct(seen), History(cut=self.hurried)
        if not self.weight:
            return centre
        target = self.likelihood.target(seen)
        batches, parts = torch.arange(len(seen)).split(self.batch), []
        for number, rows in enumerate(track(batches, "optimising images")):
            with time_budget(remaining() / (len(batches) - number)):
                parts.append(self._search(centre[rows], select(target, rows)))
        return torch.cat(parts)

    def _search(self, centre: Tensor, target: tuple[Tensor, Tensor]) -> Tensor:
        """For each image the most probable of the start ``[B, 3, H, W]`` and of the ends of all descents."""
        with torch.no_grad():
            tried = [(self.weight * self.likelihood(centre, target), centre)]
        tried += [self._descend(place, target) for place in self.searches(centre)]
        losses, images = (torch.stack(each) for each in zip(*tried, strict=True))
        return images[losses.argmin(0), torch.arange(len(centre))]

    def _descend(self, place: Coordinates, target: tuple[Tensor, Tensor], first: int = 0) -> tuple[Tensor, Tensor]:
        """Minus log-posterior ``[B]`` and images ``[B, 3, H, W]`` at its end; ``first`` numbers its first step."""
        optimizer, time, gone = torch.optim.Adam(place.parameters, self.rate), remaining(), 0.0
        for step in range(self.steps):
            if spent():
                self.history.cut = True
                break
            before, gone = gone, max(step / self.steps, 1 - remaining() / time if 0 < time < math.inf else 0.0)
            stride = min(max((gone - before) * self.steps, 1.0), 2.0)  # where time is short, fewer steps go further
            for group in optimizer.param_groups:
                group["lr"] = self.rate * stride * (0.55 + 0.45 * math.cos(math.pi * gone))  # down to a tenth
            with torch.enable_grad():
                images = place.images()
                fit = self.weight * self.likelihood(images.clamp(0, 1), target).sum()
                (of_tokens,) = torch.autograd.grad(fit, images, retain_graph=True)
                prior = place.improbability().sum()
                optimizer.zero_grad()
                torch.autograd.backward([images, prior], [of_tokens, torch.ones_like(prior)])
            self.history.step(fit.detach() + prior.detach(), of_tokens.norm(), first + step)
            optimizer.step()
        with torch.no_grad():
            images = place.images().clamp(0, 1)
            return self.weight * self.likelihood(images, target) + place.improbability(), images


class Spread:
    """The decoder's errors within a patch, as a Gaussian: coordinates in which that is white, and back.

    Being white also makes steep directions slow, in which a decoder errs little.

    Args:
        errors: ``[n, 3, H, W]``, of held-out images.
        grid: patches down and across.
    """

    def __init__(self, errors: Tensor, grid: tuple[int, int]) -> None:
        self.grid, patches = grid, to_patches(errors, grid).flatten(0, 1)
        variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
        deviations = variances.clamp_min(1e-7).sqrt()
        self.widen, self.whiten = directions * deviations, directions / deviations

    def error(self, white: Tensor) -> Tensor:
        """``[B, P, pixels]`` -> ``[B, 3, H, W]``."""
        return from_patches(white @ self.widen.T, self.grid)

    def white(self, error: Tensor) -> Tensor:
        """The inverse of `error`."""
        return to_patches(error, self.grid) @ self.whiten
