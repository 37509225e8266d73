"""Which policy to evaluate next: Gaussian processes and noisy expected hypervolume improvement, by BoTorch.

Noisy, because nobody knows where the front is that is to be improved: it is drawn from the model together with what a
new policy would be (Daulton et al., NeurIPS 2021). Beside a front that is taken for certain, doubt about a policy that
resembles one of its own counts as hope, and the search repeats what it has.

The next policies depend on the trials before, the policies that are running, and the seed; on nothing else, so that a
resumed search proposes what the interrupted one would have.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import torch
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.acquisition.multi_objective.objective import GenericMCMultiOutputObjective
from botorch.models import SingleTaskGP
from botorch.optim import optimize_acqf
from botorch.sampling import SobolQMCNormalSampler
from torch import Tensor
from torch.quasirandom import SobolEngine

from audit.pareto.front import Frame, non_dominated
from audit.pareto.objectives import Bound, Objective
from audit.pareto.surrogate import Surrogate
from audit.pareto.trials import Trial

EQUAL = 4  # starting policies between the ends that merge the same part in every layer
GROWTH = 1.2  # hyperparameters are fitted anew whenever there are so many times the trials
FITTED = 160  # trials that they are fitted to, at most
TOLD = 300  # trials that a model is told of, at most: a proposal's time grows with their square
BOXED = 40  # points of the front that the hypervolume is divided along, at most: boxes grow with their square
STARTS, TRIED, STEPS = 2, 96, 30
SAMPLES, FEWEST_SAMPLES = 16, 4  # draws of the front, with four objectives, and with many: boxes of each are many then


@dataclass
class Proposer:
    """Proposes points of the unit cube.

    Attributes:
        objectives: to optimise.
        limits: constraints, on these or on other measured objectives.
        layers: dimensions of the cube.
        evals: how many evaluations there will be.
        seed: of everything random.
        asked: the part of the reference point that the user set.
        started: how many starting policies there were when this search began; None if it begins now.
    """

    objectives: tuple[Objective, ...]
    limits: tuple[Bound, ...]
    layers: int
    evals: int
    seed: int = 0
    asked: dict[str, float] = field(default_factory=dict)
    started: int | None = None
    _fitted: tuple[tuple[int, ...], Surrogate] | None = field(default=None, repr=False)

    @property
    def start(self) -> int:
        """Policies that are evaluated before there is a model: two ends, `EQUAL`, and two fewer others than layers."""
        return self.started or min(self.layers + EQUAL, max(self.evals // 3, 2))

    @property
    def modelled(self) -> tuple[Objective, ...]:
        """Objectives, then what only constraints bound."""
        return tuple(dict.fromkeys([*self.objectives, *(limit.objective for limit in self.limits)]))

    def frame(self, trials: Sequence[Trial]) -> Frame:
        """In which units hypervolume is measured."""
        return Frame.of(self.objectives, [t for t in trials if t.number < self.start], self.asked, self.limits)

    def candidates(
        self, trials: Sequence[Trial], units: Sequence[Sequence[float]], pending: Sequence[Sequence[float]], number: int
    ) -> Iterator[tuple[str, list[float]]]:
        """Points for trial ``number``, the best first, each with where it comes from; there is no end of them.

        Args:
            trials: finished ones.
            units: where each of them lies.
            pending: where those lie that are running.
            number: of the trial that is to be chosen.
        """
        known = [(trial, unit) for trial, unit in zip(trials, units, strict=True) if trial.failure is None]
        if number < self.start:
            yield "start", self._design()[number].tolist()
        elif len(known) >= 3:
            x = torch.tensor([unit for _, unit in known], dtype=torch.float64)
            for point in self._by_model([trial for trial, _ in known], x, pending, number):
                yield "model", point.tolist()
        filler = SobolEngine(self.layers, scramble=True, seed=self.seed * 10_007 + number + 1)
        while True:
            yield "start" if number < self.start else "fill", filler.draw(1)[0].tolist()

    def believed(self, trials: Sequence[Trial], units: Sequence[Sequence[float]]) -> dict[str, dict[str, float]]:
        """The model's mean after all trials of every number that is noisy, by policy and objective.

        A number that was lucky among its neighbours is not believed, so neither the front nor a recommendation is
        luck. Numbers without noise are what they are, whatever the noise of other policies' is.

        Args:
            trials: finished ones.
            units: where each of them lies.
        """
        known = [(trial, unit) for trial, unit in zip(trials, units, strict=True) if trial.failure is None]
        noisy = {trial.name: {o for o in self.modelled if trial.noise.get(o.name, 0.0) > 0} for trial, _ in known}
        if len(known) < 3 or not any(noisy.values()):
            return {}
        told, x = [trial for trial, _ in known], torch.tensor([unit for _, unit in known], dtype=torch.float64)
        with torch.random.fork_rng(), warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.manual_seed(self.seed)
            rows = torch.linspace(0, len(told) - 1, min(len(told), FITTED)).round().long().tolist()
            with torch.enable_grad():
                surrogate = Surrogate.fit(self.modelled, [told[row] for row in rows], x[rows])
            rows = self._telling(told)
            model = surrogate.on([told[row] for row in rows], x[rows], x[:0])
            means = surrogate.values(model.posterior(x).mean).tolist()
        return {
            trial.name: {o.name: mean for o, mean in zip(self.modelled, own, strict=True) if o in noisy[trial.name]}
            for trial, own in zip(told, means, strict=True)
        }

    def _design(self) -> Tensor:
        """Both ends, policies that merge the same part in every layer, then a scrambled Sobol sequence.

        Merging alike everywhere is hard to beat, and what the layers are to differ in is learned from there.
        """
        ends, parts = torch.tensor([0.0, 1.0]), torch.arange(1, EQUAL + 1) / (EQUAL + 1)
        equal = torch.cat([ends, parts])[:, None].expand(-1, self.layers)
        others = SobolEngine(self.layers, scramble=True, seed=self.seed).draw(max(self.start - len(equal), 1))
        return torch.cat([equal, others])

    def _by_model(
        self, trials: list[Trial], x: Tensor, pending: Sequence[Sequence[float]], number: int
    ) -> list[Tensor]:
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(self.seed * 100_003 + number)
            surrogate, rows = self._surrogate(trials, x), self._telling(trials)
            trials, x = [trials[row] for row in rows], x[rows]
            waiting = torch.tensor(pending, dtype=torch.float64).reshape(-1, self.layers)
            model = surrogate.on(trials, x, waiting)
            acquisition, best = self._acquisition(surrogate, model, trials, torch.cat([x, waiting]), number)
            return _maximise(acquisition, best, self.layers)

    def _surrogate(self, trials: list[Trial], x: Tensor) -> Surrogate:
        """Fitted from scratch to the first so many trials, and kept until there are `GROWTH` times as many."""
        count = self.start
        while int(count * GROWTH) + 1 <= len(trials):
            count = int(count * GROWTH) + 1
        rows = torch.linspace(0, min(count, len(trials)) - 1, min(count, len(trials), FITTED)).round().long().tolist()
        key = tuple(trials[row].number for row in rows)
        if self._fitted is None or self._fitted[0] != key:
            with torch.random.fork_rng():  # a fit that begins again draws: the same whichever policy it is first for
                torch.manual_seed(self.seed)
                self._fitted = (key, Surrogate.fit(self.modelled, [trials[row] for row in rows], x[rows]))
        return self._fitted[1]

    def _telling(self, trials: list[Trial]) -> list[int]:
        """Rows of at most `TOLD` trials: the starting ones, the front (a half at most), and then the latest."""
        if len(trials) <= TOLD:
            return list(range(len(trials)))
        points = self.frame(trials).points(trials)
        best = non_dominated(points).nonzero()[:, 0]
        rows = {row for row, trial in enumerate(trials) if trial.number < self.start}
        rows |= set(best[_spread(points[best], TOLD // 2)].tolist())
        latest = (row for row in reversed(range(len(trials))) if row not in rows)
        return sorted([*rows, *islice(latest, max(TOLD - len(rows), 0))])

    def _acquisition(
        self, surrogate: Surrogate, model: SingleTaskGP, trials: list[Trial], inputs: Tensor, number: int
    ) -> tuple[qLogNoisyExpectedHypervolumeImprovement, Tensor]:
        """The acquisition function, and which of the model's inputs ``[n, layers]`` are best so far."""
        frame = self.frame(trials)
        width = len(self.objectives)

        def value(samples: Tensor, X: Tensor | None = None) -> Tensor:
            return frame.normalise(surrogate.values(samples)[..., :width])

        with torch.no_grad():
            expected = surrogate.values(model.posterior(inputs).mean)
        keep = torch.ones(len(expected), dtype=torch.bool)
        for limit in self.limits:
            keep &= limit.sign * expected[:, self.modelled.index(limit.objective)] >= limit.sign * limit.limit
        points = frame.normalise(expected[:, :width])
        rows = keep.nonzero()[:, 0][non_dominated(points[keep])]
        if not len(rows):  # nothing keeps the limits yet
            rows = torch.arange(len(points))
        draws = max(SAMPLES >> max(width - 4, 0), FEWEST_SAMPLES)
        acquisition = qLogNoisyExpectedHypervolumeImprovement(
            model,
            torch.zeros(width, dtype=torch.float64),
            inputs[rows[_spread(points[rows], BOXED)]],
            sampler=SobolQMCNormalSampler(torch.Size([draws]), seed=self.seed * 7919 + number),
            objective=GenericMCMultiOutputObjective(value),
            constraints=[surrogate.slack(limit) for limit in self.limits] or None,
            eta=1e-2,
            prune_baseline=False,  # it is the front already, or what is far apart of a large one
        )
        return acquisition, inputs[rows]


def _spread(points: Tensor, count: int) -> Tensor:
    """Rows of at most ``count`` points, far from each other; the extremes of every objective first."""
    if len(points) <= count:
        return torch.arange(len(points))
    rows = list(dict.fromkeys(points.argmax(0).tolist()))
    distance = torch.cdist(points, points[rows]).amin(1)
    while len(rows) < count:
        rows.append(int(distance.argmax()))
        distance = torch.minimum(distance, torch.cdist(points, points[rows[-1:]])[:, 0])
    return torch.tensor(rows)


def _maximise(acquisition: qLogNoisyExpectedHypervolumeImprovement, best: Tensor, layers: int) -> list[Tensor]:
    """Points in order of falling acquisition value: the optima first, then what was tried on the way."""
    around = best[torch.randint(len(best), (TRIED // 2,))]
    moved = around + 0.15 * torch.randn_like(around) * (torch.rand_like(around) < 0.5)
    anywhere = SobolEngine(layers, scramble=True, seed=int(torch.randint(2**31, (1,)))).draw(TRIED - len(moved))
    tried = torch.cat([anywhere.double(), moved.clamp(0, 1)])[:, None]
    with torch.no_grad():
        scores = torch.cat([acquisition(part) for part in tried.split(16)])
    order = scores.argsort(descending=True)
    optima, heights = optimize_acqf(
        acquisition,
        torch.stack([torch.zeros(layers), torch.ones(layers)]).double(),
        q=1,
        num_restarts=STARTS,
        batch_initial_conditions=tried[order[:STARTS]],
        options={"maxiter": STEPS},
        return_best_only=False,
    )
    assert heights is not None
    return [*optima[heights.argsort(descending=True)][:, 0].detach(), *tried[order, 0]]
