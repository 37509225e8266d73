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
from attacks.base import History, require
from attacks.budget import remaining, spent, stopwatch, time_budget
from attacks.objective import WHITE_BOX, Target
from attacks.posterior import Posterior
from attacks.shared import fitted

WEIGHTS = (1.0, 0.1)  # of the likelihood: its own, and one for where it is only roughly right
CHOOSING = 16  # images of the adversary's own that choose between them


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
    its start. So this maximises the posterior (`attacks.posterior`): the likelihood of what arrived, and a prior around
    the decoder's output as wide as that decoder's own errors on held-out auxiliary images. Where the likelihood's
    simplifications mislead, under strong merging, it counts for less or for nothing: whichever weight first improves
    some images of the adversary's own. The attacks differ in the coordinates in which they search. Of the start and the
    ends of all descents, each image keeps the most probable.
    """

    name: ClassVar[str]
    needs: ClassVar[Knowledge] = WHITE_BOX
    needs_one_of: ClassVar[tuple[Knowledge, ...]] = ALIGNABLE

    steps: int
    rate: float
    batch: int

    @classmethod
    def share(cls, threat: ThreatModel) -> float:
        """Little: `attacks.optimization` minimises the same in fewer steps, and the others seldom find more."""
        return 0.75

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Fit the decoder, measure its errors and the noise, and choose the likelihood's weight."""
        require(self, threat)
        self.posterior = fitted(Posterior, link, threat, images)
        self.likelihood, self.spread = self.posterior.likelihood, self.posterior.spread
        own = torch.arange(min(CHOOSING, len(self.posterior.originals)))
        with time_budget(remaining() / 3):
            self.weight = self._choose(own)

    def _choose(self, own: Tensor) -> float:
        """The first weight with which the adversary's own images come out better; 0 where none does."""
        self.hurried, target = False, self.likelihood.target(self.posterior.own.select(own))
        estimates, images = self.posterior.estimates[own], self.posterior.originals[own]
        for number, weight in enumerate(WEIGHTS):
            self.weight, self.history = weight, History()
            with time_budget(remaining() / (len(WEIGHTS) - number)):
                found = self._search(estimates, target)
            self.hurried = self.hurried or self.history.cut
            if float((found - images).square().mean()) < float((estimates - images).square().mean()):
                return weight
        return 0.0

    def searches(self, centre: Tensor) -> Iterator[Coordinates]:
        """One for each descent from the decoder's output ``[B, 3, H, W]``."""
        raise NotImplementedError

    def reconstruct(self, seen: Observation) -> Tensor:
        """The most probable image that was found."""
        self.history = History(cut=self.hurried)
        seen, centre = self.posterior.begin(seen)
        if not self.weight:
            return centre
        target = self.likelihood.target(seen)
        batches, parts = torch.arange(len(seen)).split(self.batch), []
        for number, rows in enumerate(track(batches, "optimising images")):
            with time_budget(remaining() / (len(batches) - number)):
                parts.append(self._search(centre[rows], target.select(rows)))
        return torch.cat(parts)

    def _search(self, centre: Tensor, target: Target) -> Tensor:
        """For each image the most probable of the start ``[B, 3, H, W]`` and of the ends of all descents."""
        with torch.no_grad():
            tried = [(self.weight * self.likelihood(centre, target), centre)]
        tried += [self._descend(place, target) for place in self.searches(centre)]
        losses, images = (torch.stack(each) for each in zip(*tried, strict=True))
        return images[losses.argmin(0), torch.arange(len(centre))]

    def _descend(self, place: Coordinates, target: Target, first: int = 0) -> tuple[Tensor, Tensor]:
        """Minus log-posterior ``[B]`` and images ``[B, 3, H, W]`` at its end; ``first`` numbers its first step."""
        optimizer, of_time, gone = torch.optim.Adam(place.parameters, self.rate), stopwatch(), 0.0
        for step in range(self.steps):
            if spent():
                self.history.cut = True
                break
            before, gone = gone, max(step / self.steps, of_time())
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
            return self._judged(place, target)

    def _judged(self, place: Coordinates, target: Target) -> tuple[Tensor, Tensor]:
        """Minus log-posterior ``[B]``, up to a constant, and the images ``[B, 3, H, W]`` that it is of."""
        images = place.images().clamp(0, 1)
        return self.weight * self.likelihood(images, target) + place.improbability(), images
