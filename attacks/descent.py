"""How the white-box attacks descend: from the decoder's output to the most probable image."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from atm.knowledge import Knowledge
from atm.progress import track
from atm.threat import Observation, ThreatModel
from attacks.base import ALIGNABLE, Attack, require
from attacks.budget import Budget
from attacks.history import History
from attacks.objective import WHITE_BOX, Target
from attacks.oracle import Oracle
from attacks.posterior import Posterior

WEIGHTS = (1.0, 0.1)  # of the likelihood: its own, and one for where it is only roughly right
CHOOSING = 16  # images of the adversary's own that choose between them


class Coordinates(Protocol):
    """What is searched in place of the pixels of ``B`` images; where the search begins is the decoder's output."""

    parameters: list[Tensor]
    """Leaves that ask for gradients."""

    def images(self) -> Tensor:
        """``[B, C, H, W]``, not clipped."""
        ...

    def improbability(self) -> Tensor:
        """``[B]``: minus the logarithm of their prior, up to a constant."""
        ...


class Descent(Attack):
    """Gradient descent through encoder, merge, defence and codec, from the decoder's output.

    Searching the image whose tokens are nearest to the observed ones alone fits the channel's noise and gets worse than
    its start. So this maximises the posterior (`attacks.posterior`): the likelihood of what arrived, and a prior around
    the decoder's output as wide as that decoder's own errors on held-out auxiliary images. Where the likelihood's
    simplifications mislead, under strong merging, it counts for less or for nothing: whichever weight first improves
    some images of the adversary's own. The attacks differ in the coordinates in which they search. Of the start and the
    ends of all descents, each image keeps the most probable.
    """

    needs: ClassVar[Knowledge] = WHITE_BOX
    needs_one_of: ClassVar[tuple[Knowledge, ...]] = ALIGNABLE

    steps: int
    batch: int

    @classmethod
    def share(cls, threat: ThreatModel) -> float:
        """Little: `attacks.optimization` minimises the same in fewer steps, and the others seldom find more."""
        return 0.75

    def fit(self, oracle: Oracle) -> None:
        """Fit the decoder, measure its errors and the noise, and choose the likelihood's weight."""
        require(self, oracle.threat)
        self.budget = oracle.budget
        self.posterior = oracle.fitted(Posterior)
        self.likelihood, self.spread = self.posterior.likelihood, self.posterior.spread
        own = torch.arange(min(CHOOSING, len(self.posterior.originals)))
        self.weight = self._choose(own, oracle.budget.part(1 / 3, "choosing"))

    def _choose(self, own: Tensor, budget: Budget) -> float:
        """The first weight with which the adversary's own images come out better; 0 where none does."""
        target = self.likelihood.target(self.posterior.own.select(own))
        estimates, images = self.posterior.estimates[own], self.posterior.originals[own]
        self.weight = WEIGHTS[0]
        steps = self._affordable(estimates, target, budget, len(WEIGHTS))
        self.hurried = steps < self.steps
        for weight in WEIGHTS:
            self.weight, self.history = weight, History()
            found = self._search(estimates, target, steps)
            if float((found - images).square().mean()) < float((estimates - images).square().mean()):
                return weight
        return 0.0

    @abstractmethod
    def searches(self, centre: Tensor) -> Iterator[Coordinates]:
        """One for each descent from the decoder's output ``[B, C, H, W]``."""

    def reconstruct(self, seen: Observation) -> Tensor:
        """The most probable image that was found."""
        self.history = History(cut=self.hurried)
        seen, centre = self.posterior.begin(seen)
        if not self.weight:
            return centre
        target = self.likelihood.target(seen)
        batches, parts = torch.arange(len(seen)).split(self.batch), []
        first = batches[0]
        steps = self._affordable(centre[first], target.select(first), self.budget, len(batches))
        self.history.cut = self.history.cut or steps < self.steps
        for rows in track(batches, "optimising images"):
            parts.append(self._search(centre[rows], target.select(rows), steps))
        return torch.cat(parts)

    def _affordable(self, centre: Tensor, target: Target, budget: Budget, times: int) -> int:
        """Steps of every descent, where so many batches like this one are searched."""
        with torch.random.fork_rng():
            places = list(self.searches(centre))

        def trial() -> None:
            with torch.enable_grad():
                loss, _ = self._judged(places[0], target)
                torch.autograd.grad(loss.sum(), places[0].parameters)

        return budget.steps("descending", self.steps, trial, times=times * len(places))

    def _search(self, centre: Tensor, target: Target, steps: int) -> Tensor:
        """For each image the most probable of the start ``[B, C, H, W]`` and of the ends of all descents."""
        with torch.no_grad():
            tried = [(self.weight * self.likelihood(centre, target), centre)]
        tried += [self._descend(place, target, steps) for place in self.searches(centre)]
        losses, images = (torch.stack(each) for each in zip(*tried, strict=True))
        return images[losses.argmin(0), torch.arange(len(centre), device=centre.device)]

    @abstractmethod
    def _descend(self, place: Coordinates, target: Target, steps: int) -> tuple[Tensor, Tensor]:
        """Minus log-posterior ``[B]`` and images ``[B, C, H, W]`` at the end of a descent."""

    def _judged(self, place: Coordinates, target: Target) -> tuple[Tensor, Tensor]:
        """Minus log-posterior ``[B]``, up to a constant, and the images ``[B, C, H, W]`` that it is of."""
        images = place.images().clamp(0, 1)
        return self.weight * self.likelihood(images, target) + place.improbability(), images


class AdamDescent(Descent):
    """A descent by Adam, whose rate falls to a tenth of what it was at the start.

    Attributes:
        rate: of the first step.
    """

    rate: float

    def _descend(self, place: Coordinates, target: Target, steps: int, first: int = 0) -> tuple[Tensor, Tensor]:
        optimizer = torch.optim.Adam(place.parameters, self.rate)
        stride = min(self.steps / max(steps, 1), 2.0)  # where time is short, fewer steps go further
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = self.rate * stride * (0.55 + 0.45 * math.cos(math.pi * step / steps))
            with torch.enable_grad():
                images = place.images()
                fit = self.weight * self.likelihood(images.clamp(0, 1), target).sum()
                (of_tokens,) = torch.autograd.grad(fit, images, retain_graph=True)
                prior = place.improbability().sum()
                optimizer.zero_grad()
                torch.autograd.backward([images, prior], [of_tokens, torch.ones_like(prior)])
            assert self.history is not None
            self.history.step(fit.detach() + prior.detach(), of_tokens.norm(), first + step)
            optimizer.step()
        with torch.no_grad():
            return self._judged(place, target)
