"""What the full suite would find in policies that it did not attack: two fidelities of one Gaussian process.

The score of a search ranks policies and lies below what the suite finds, by about 0.1 of SSIM on ``vit_photos``. The
suite is too dear for every policy. So one model is told of both, the score of all policies and the suite's leakage of
those that it attacked, and says what to expect of the others (Wu et al. 2020, by BoTorch).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress

import torch
from botorch.exceptions import ModelFittingError
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskMultiFidelityGP
from botorch.models.transforms import Standardize
from gpytorch.mlls import ExactMarginalLogLikelihood

from audit.pareto.outcome import HALF
from audit.pareto.trials import Trial

FEWEST = 3  # attacked policies, below which a line through them says nothing of its own error
SCORE, SUITE = 0.0, 1.0  # the fidelities

Interval = tuple[float, float, float]


def expected(
    trials: Sequence[Trial], units: Sequence[Sequence[float]], full: Mapping[str, Interval]
) -> dict[str, Interval]:
    """Leakage by the full suite, as it is to be expected: estimate and the ends of a 95% interval, by policy.

    Of policies that it attacked there is nothing to expect. Empty where it attacked fewer than `FEWEST`.

    Args:
        trials: of a search; those that failed are left out.
        units: where each of them lies in the unit cube.
        full: leakage by the full suite ``(estimate, low, high)`` by policy name.
    """
    scored = [
        (trial, torch.tensor(unit, dtype=torch.float64))
        for trial, unit in zip(trials, units, strict=True)
        if "leakage" in trial.values
    ]
    attacked = [(full[trial.name][0], unit) for trial, unit in scored if trial.name in full]
    others = [(trial, unit) for trial, unit in scored if trial.name not in full]
    if len(attacked) < FEWEST or not others:
        return {}
    x = [torch.cat([unit, torch.tensor([SCORE])]) for _, unit in scored]
    x += [torch.cat([unit, torch.tensor([SUITE])]) for _, unit in attacked]
    y = [trial.values["leakage"] for trial, _ in scored] + [leakage for leakage, _ in attacked]
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        model = SingleTaskMultiFidelityGP(
            torch.stack(x),
            torch.tensor(y, dtype=torch.float64)[:, None],
            data_fidelities=[len(x[0]) - 1],
            outcome_transform=Standardize(1),
        )
        with suppress(ModelFittingError, RuntimeError):  # then the prior's hyperparameters stay, and intervals are wide
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        asked = torch.stack([torch.cat([unit, torch.tensor([SUITE])]) for _, unit in others])
        with torch.no_grad():
            found = model.posterior(asked, observation_noise=True)
            mean, half = found.mean[:, 0], HALF * found.variance[:, 0].sqrt()
    ends = torch.stack([mean, mean - half, mean + half], 1).clamp(0, 1).tolist()
    return {trial.name: (own[0], own[1], own[2]) for (trial, _), own in zip(others, ends, strict=True)}
