"""Inversion without the victim's weights: through a stand-in that was taught to answer as the device does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from atm.knowledge import Knowledge
from atm.rows import Rows, kept
from atm.threat import Observation
from attacks.base import ALIGNABLE, Attack, held_out, mean_and_scale, patch_features, require
from attacks.linear import Linear, Moments, chosen
from attacks.network import Block
from attacks.oracle import Oracle
from attacks.training import Schedule, train

WEIGHTS = (0.0, 0.1, 0.3, 1.0)  # of the likelihood; the held-out images choose, and 0 keeps the start

SPREAD = 0.01  # variance of the start's errors, in grey levels from 0 to 1


@dataclass
class Shadow(Attack):
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
    order: ClassVar[int] = 2
    standard: ClassVar[bool] = False
    needs_one_of: ClassVar[tuple[Knowledge, ...]] = ALIGNABLE
    instead_of: ClassVar[Knowledge | None] = Knowledge.WEIGHTS  # whoever has them needs no stand-in
    QUICK: ClassVar[dict[str, Any]] = {"steps": 10, "schedule": Schedule(steps=100, every=50)}

    width: int = 128
    layers: int = 2
    steps: int = 50
    rate: float = 0.01
    schedule: Schedule = field(default_factory=lambda: Schedule(steps=3000))

    def fit(self, oracle: Oracle) -> None:
        """Query the device, train the stand-in, and choose the start and the descent's weight."""
        require(self, oracle.threat)
        self.signal, self.complete, self.budget = oracle.signal, oracle.complete, oracle.budget
        images = oracle.images
        seen = kept(patch_features(oracle.mapped(rows)) for rows in oracle.batches())
        self.mean, rows = seen.mean(0), held_out(len(images))
        _, self.scale = mean_and_scale((part - self.mean).flatten(0, 1) for part in seen.split(64))
        network = _StandIn(self.signal.unit, seen.shape[1], seen.shape[2], self.width, self.layers)
        self.network = network.to(images.device)

        def loss_on(part: Tensor) -> Tensor:
            return mse_loss(self._answer(images[part]), self._standard(seen[part]))

        half = oracle.budget.part(0.5, "stand-in")
        self.history = train(self.network, loss_on, *rows, self.schedule, "the stand-in", half)
        self.network.requires_grad_(False)
        held, truth = self._standard(seen[rows[1]]), images[rows[1]]
        self.noise = (self._answers(truth) - held).square().mean((0, 1)).clamp_min(1e-3)
        self.start = self._start(oracle, seen)
        begin = self._begin(seen[rows[1]])
        steps = self._affordable(begin, held, times=2 * len(WEIGHTS))

        def error(weight: float) -> float:
            return float((self._descend(begin, held, weight, steps) - truth).square().mean())

        self.weight = min(WEIGHTS, key=error)

    def reconstruct(self, seen: Observation) -> Tensor:
        """The images whose answers are the likeliest, near the start."""
        features = patch_features(self.complete(seen))
        begin, answers = self._begin(features), self._standard(features)
        return self._descend(begin, answers, self.weight, self._affordable(begin, answers))

    def _start(self, oracle: Oracle, seen: Rows) -> Linear:
        """Ridge on queried pairs, or with unsent images among them, whichever is better on held-out ones."""
        train, held = held_out(len(oracle.images))
        judge = Moments.of(seen[held], self.signal.to_units(oracle.images[held]), self.mean)
        sent = [
            Moments.of(seen[part], self.signal.to_units(oracle.images[part]), self.mean)
            for part in oracle.batches(train)
        ]
        alone = chosen(Moments.total(sent), judge)
        if oracle.unsent is None:
            return alone
        rest = torch.arange(len(oracle.unsent))
        imitated = [self._imitated(oracle.unsent[part]) for part in oracle.batches(rest)]
        more = chosen(Moments.total([*imitated, *sent]), judge)
        truth = oracle.images[held]
        return min((alone, more), key=lambda linear: float((self._drawn(linear, seen[held]) - truth).square().mean()))

    def _imitated(self, images: Tensor) -> Moments:
        """Of images that were never sent, with answers as noisy as the stand-in errs."""
        answers = self._answers(images)
        answers = (answers + torch.randn(answers.shape).to(answers) * self.noise.sqrt()) * self.scale + self.mean
        return Moments.of(answers, self.signal.to_units(images), self.mean)

    def _drawn(self, linear: Linear, features: Tensor) -> Tensor:
        return self.signal.clip(self.signal.from_units(linear(features)))

    def _begin(self, features: Tensor) -> Tensor:
        return self._drawn(self.start, features)

    def _affordable(self, begin: Tensor, answers: Tensor, times: int = 1) -> int:
        steps = self.budget.steps(
            "descending", self.steps, lambda: self._slope(begin, begin, answers, 1.0), times=times
        )
        assert self.history is not None
        self.history.cut = self.history.cut or steps < self.steps
        return steps

    def _descend(self, start: Tensor, answers: Tensor, weight: float, steps: int) -> Tensor:
        """Images ``[B, C, H, W]``: minus the log-likelihood under the stand-in, and the distance from the start."""
        if not weight:
            return start
        image = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([image], self.rate)
        for _ in range(steps):
            image.grad = self._slope(image, start, answers, weight)
            optimizer.step()
            with torch.no_grad():
                image.clamp_(0, 1)
        return image.detach()

    def _slope(self, image: Tensor, start: Tensor, answers: Tensor, weight: float) -> Tensor:
        with torch.enable_grad():
            image = image.detach().requires_grad_()
            unlikely = ((self._answer(image) - answers).square() / self.noise).sum() / answers.shape[-1]
            loss = weight * unlikely + (image - start).square().sum() / SPREAD / self.signal.shape[0]
            (slope,) = torch.autograd.grad(loss, image)
        return slope

    def _standard(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.scale

    def _answer(self, images: Tensor) -> Tensor:
        answer: Tensor = self.network(self.signal.to_units(images))
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
