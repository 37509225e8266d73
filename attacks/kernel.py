"""Closed-form inversion that is not linear: from all tokens of a picture, by its likeness to the adversary's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from atm.rows import Rows, few
from atm.threat import Observation, ThreatModel
from attacks.base import ALIGNABLE, Attack, frame_features, held_out, mean_token, patch_features, require
from attacks.context import Context
from attacks.oracle import Oracle
from attacks.varied import MOST, Varied
from attacks.whole import sequence

CHOOSING = 2000  # pictures, at most, from which view and strength are chosen: the time for that is not asked for
WIDTH = 2.0  # of the kernel, in deviations of what is received
STRENGTHS = (0.03, 0.1, 0.3, 1.0, 3.0)
MOST_NUMBERS = 2**26  # of what principal directions are taken from: half a gigabyte in double precision
ROUNDING = 1e-12  # of the square of what is received; where it varies by no more it does not vary
MOST_PIXELS = 2**28  # of all pictures that are learned from: a gigabyte


@dataclass(frozen=True)
class View:
    """What is received of a picture as one vector, along its principal directions.

    Attributes:
        of: ``[B, f]`` of an observation.
        mean: ``[f]``.
        directions: ``[f, d]``, divided by the deviation of all ``f`` together.
    """

    of: Callable[[Observation], Tensor]
    mean: Tensor
    directions: Tensor

    @classmethod
    def measured(cls, of: Callable[[Observation], Tensor], observe: Callable[[Tensor], Observation], most: int) -> View:
        """From what is seen of pictures ``0, 1, ...``, as many of the ``most`` as memory is for."""
        width = of(observe(torch.arange(1))).shape[1]
        rows = torch.arange(min(most, max(MOST_NUMBERS // width, 2)))
        seen = torch.cat([of(observe(part)) for part in rows.split(few(width))])
        mean = seen.mean(0)
        centred = seen - mean
        eigenvalues, basis = torch.linalg.eigh(centred.double() @ centred.T.double())
        kept = eigenvalues > max(1e-9 * float(eigenvalues[-1]), ROUNDING * float(seen.double().square().sum()))
        directions = centred.T @ (basis[:, kept] / eigenvalues[kept].sqrt()).to(centred)
        return cls(of, mean, directions / (eigenvalues.sum() / len(rows)).sqrt().clamp_min(1e-12).to(centred))

    def __call__(self, seen: Observation) -> Tensor:
        """``[B, d]``, of a mean square of 1 all together."""
        return (self.of(seen) - self.mean) @ self.directions


@dataclass(frozen=True)
class Likeness:
    """Kernel ridge regression: a weighted sum over known pictures, each by how much what is received is alike.

    Attributes:
        known: ``[n, d]``.
        weights: ``[n, t]``.
    """

    known: Tensor
    weights: Tensor

    @classmethod
    def solved(cls, known: Tensor, wanted: Tensor, strength: float) -> Likeness:
        """Of what is received ``[n, d]`` and what is wanted ``[n, t]``."""
        gram = _gaussian(known, known)
        gram.diagonal().add_(strength)
        return cls(known, torch.cholesky_solve(wanted, torch.linalg.cholesky(gram)))

    def __call__(self, x: Tensor) -> Tensor:
        """``[B, d]`` -> ``[B, t]``."""
        return _gaussian(x, self.known) @ self.weights


def _gaussian(x: Tensor, known: Tensor) -> Tensor:
    """``[B, n]``, how much vectors ``[B, d]`` and ``[n, d]`` are alike: from 1 for the same ones down to 0."""
    return (torch.cdist(x, known).square() / (-2 * WIDTH**2)).exp()


@dataclass
class Kernel(Attack):
    """Kernel ridge regression, on all tokens of a picture at once, of what `attacks.context` leaves over.

    Where few tokens say little of much, a network that is as strong takes ten times as long: of ``vit_cifar10``,
    aggressively merged, this rebuilds 15.4 dB in seconds, and 15.7 in a minute with variations of her pictures
    (`attacks.varied`). Where there is no merge map and none can be found it starts from the mean picture and takes
    tokens in the order in which they come, or their mean. Held-out pictures choose that, how strong it is, and whether
    it adds anything.

    Attributes:
        most: pictures and variations to learn from; the solution is cubic in them.
    """

    name: ClassVar[str] = "kernel"
    order: ClassVar[int] = 1
    QUICK: ClassVar[dict[str, Any]] = {"most": 500}

    most: int = 9000

    @classmethod
    def share(cls, threat: ThreatModel) -> float:
        """Twice that of what is linear."""
        return 2

    def fit(self, oracle: Oracle) -> None:
        """Send the pictures, choose by held-out ones, and solve again with as many variations as there is time for."""
        require(self, oracle.threat)
        self.signal, self.complete, self.mean_image = oracle.signal, oracle.complete, oracle.images.mean(0)
        self.context = oracle.fitted(Context) if any(option in oracle.knows for option in ALIGNABLE) else None
        self.likeness: Likeness | None = None
        most = max(min(self.most, MOST_PIXELS // self.mean_image.numel()), 2)
        train, held = (rows[:most] for rows in held_out(len(oracle.images)))
        first = train[:CHOOSING]
        observe, least, strength = oracle.observe if self.context is None else oracle.mapped, float("inf"), 0.0
        for of in self._views(oracle):
            view = View.measured(of, observe, len(first))
            if not view.directions.shape[1]:
                continue
            known, wanted = self._told(view, observe, oracle.images, first)
            new, missing = self._told(view, observe, oracle.images, held)
            least = min(least, float(missing.square().mean()))
            for tried in STRENGTHS:
                likeness = Likeness.solved(known, wanted, tried)
                error = float((likeness(new) - missing).square().mean())
                if error < least:
                    least, self.view, self.likeness, strength = error, view, likeness, tried
                    chosen = known, wanted, new, missing
        if self.likeness is None:
            return
        known, wanted, new, missing = chosen
        rows = _affordable(oracle, lambda: Likeness.solved(known, wanted, strength), len(first), most)
        parts = [(known, wanted)]
        if rows > len(first) < len(train):
            parts.append(self._told(self.view, observe, oracle.images, train[len(first) : rows]))
        times = Varied.sendable(oracle, min(MOST, rows // len(train) - 1))
        if times:
            varied = oracle.fitted(Varied, times=times)
            images = varied.oracle.images
            parts.append(self._told(self.view, varied.observe, images, torch.arange(len(images))))
        if len(parts) > 1:
            known, wanted = (torch.cat(each) for each in zip(*parts, strict=True))
            likeness = Likeness.solved(known, wanted, strength)
            if float((likeness(new) - missing).square().mean()) < least:
                self.likeness = likeness

    @torch.no_grad()
    def reconstruct(self, seen: Observation) -> Tensor:
        """The estimate, clipped to [0, 1]."""
        return self.signal.clip(torch.cat([self._estimate(seen.select(r)) for r in torch.arange(len(seen)).split(256)]))

    def _estimate(self, seen: Observation) -> Tensor:
        if self.context is not None:
            seen = self.complete(seen)
        start = self._start(seen)
        return start if self.likeness is None else start + self.likeness(self.view(seen)).view_as(start)

    def _start(self, seen: Observation) -> Tensor:
        """``[B, C, H, W]``, what is rebuilt without the kernel."""
        if self.context is None:
            return self.mean_image.expand(len(seen), *self.mean_image.shape)
        return self.context.estimate(seen)

    def _told(
        self, view: View, observe: Callable[[Tensor], Observation], images: Rows, rows: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Of pictures by their numbers ``[n]``: their views ``[n, d]``, and what the start leaves over ``[n, t]``."""
        seen, missing = [], []
        for part in rows.split(256):
            found = observe(part)
            seen.append(view(found))
            missing.append((images[part] - self._start(found)).flatten(1))
        return torch.cat(seen), torch.cat(missing)

    def _views(self, oracle: Oracle) -> list[Callable[[Observation], Tensor]]:
        """What may be made of an observation: one vector ``[B, f]`` of all its tokens."""
        if self.context is not None:
            standard = self.context.ridge.linear.standard
            return [lambda seen: standard(patch_features(seen)).flatten(1)]
        return [partial(sequence, longest=int(oracle.lengths.max())), _pooled]


def _affordable(oracle: Oracle, solve: Callable[[], object], count: int, most: int) -> int:
    """From how many pictures to learn, at most so many, if it takes so long from ``count``: half of the time for it."""
    wanted = math.ceil((most / count) ** 3)
    solutions = oracle.budget.part(1 / 2, "solving").steps("solving", wanted, solve)
    return min(int(count * solutions ** (1 / 3) + 1e-6), most)


def _pooled(seen: Observation) -> Tensor:
    """``[B, f]``: the mean of the tokens, protected ones, the logarithm of how many there are, and the frame's own."""
    tokens = seen.tokens
    counts = tokens.lengths.to(tokens.values.device)[:, None]
    return torch.cat([mean_token(tokens), tokens.protected().flatten(1), counts.log(), *frame_features(seen)], 1)
