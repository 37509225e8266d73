"""What the search believes of policies that it has not evaluated: Gaussian processes, by BoTorch.

What a policy costs and what its tokens tell depend first of all on how many tokens are left, at the end and on the way
there, and only then on which layers merged them. So every process is the sum of two: one over these two numbers, from
which ten evaluations tell much, and one, small, over the layers, which learns the rest as evaluations come in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from botorch.exceptions import ModelFittingError
from botorch.fit import fit_gpytorch_mll
from botorch.models import SingleTaskGP
from botorch.models.transforms.input import InputTransform
from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
from gpytorch.kernels import Kernel, MaternKernel, ScaleKernel
from gpytorch.mlls import ExactMarginalLogLikelihood
from gpytorch.priors import GammaPrior, LogNormalPrior
from torch import Tensor, nn

from audit.pareto.objectives import Bound, Objective
from audit.pareto.trials import Trial

LEAST_NOISE = 1e-5  # variance, on the standardised scale


class Remaining(InputTransform, nn.Module):
    """Points of the unit cube ``[..., layers]`` -> ``[..., layers + 2]`` in [0, 1]: on the scale of logarithms, how few
    of its tokens each layer leaves, how few are left at the end, and how few on the average of the layers.

    A coordinate is about the part that merges of the tokens that may, which are every second one: see
    `audit.pareto.space`. Where the search's lowest threshold leaves out much of what is less alike, less merges.
    """

    def __init__(self) -> None:
        super().__init__()
        self.transform_on_train = self.transform_on_eval = self.transform_on_fantasize = True

    def transform(self, X: Tensor) -> Tensor:
        """See the class."""
        left = 1 - X / 2
        halved = -left.log2()
        fewest = 0.5 ** torch.arange(1, X.shape[-1] + 1, dtype=X.dtype, device=X.device)
        mean = left.cumprod(-1).mean(-1, keepdim=True).log() / fewest.mean().log()
        return torch.cat([halved, halved.mean(-1, keepdim=True), mean], -1)


def _kernel(layers: int, outputs: int) -> Kernel:
    """Of what `Remaining` makes: Matérn-5/2 over the last two, and a smaller one with a lengthscale per layer."""
    batch = torch.Size([outputs])
    left = MaternKernel(
        2.5,
        ard_num_dims=2,
        active_dims=(layers, layers + 1),
        batch_shape=batch,
        lengthscale_prior=LogNormalPrior(0.0, 0.7),
    )
    each = get_covar_module_with_dim_scaled_prior(
        ard_num_dims=layers, batch_shape=batch, use_rbf_kernel=False, active_dims=range(layers)
    )
    much = ScaleKernel(left, batch_shape=batch, outputscale_prior=GammaPrior(2.0, 2.0))
    little = ScaleKernel(each, batch_shape=batch, outputscale_prior=GammaPrior(2.0, 20.0))
    much.outputscale, little.outputscale = 1.0, 0.1
    return much + little


@dataclass(frozen=True)
class Surrogate:
    """One Gaussian process per objective, on standardised model scales.

    Attributes:
        objectives: what is modelled.
        mean: ``[objectives]``, of the values that it was fitted to, on their scales.
        deviation: ``[objectives]``, likewise.
        state: the hyperparameters by their names in the model.
    """

    objectives: tuple[Objective, ...]
    mean: Tensor
    deviation: Tensor
    state: dict[str, Tensor]

    @classmethod
    def fit(cls, objectives: tuple[Objective, ...], trials: Sequence[Trial], x: Tensor) -> Surrogate:
        """Fit hyperparameters; where the likelihood cannot be maximised, the prior's stay."""
        y, _ = _scaled(objectives, trials)
        made = cls(objectives, y.mean(0), y.std(0).clamp_min(1e-6), {})
        model = made.on(trials, x, x[:0])
        try:
            fit_gpytorch_mll(
                ExactMarginalLogLikelihood(model.likelihood, model), optimizer_kwargs={"options": {"maxiter": 60}}
            )
        except (ModelFittingError, RuntimeError):
            return made
        return cls(made.objectives, made.mean, made.deviation, dict(model.state_dict()))

    def on(self, trials: Sequence[Trial], x: Tensor, pending: Tensor) -> SingleTaskGP:
        """These hyperparameters with all data; at pending points the model takes its own mean for an observation."""
        y, variance = _scaled(self.objectives, trials)
        model = self._model(x, (y - self.mean) / self.deviation, variance / self.deviation.square())
        if not len(pending):
            return model
        with torch.no_grad():
            believed = model.posterior(pending).mean
        noise = torch.cat([variance / self.deviation.square(), torch.full_like(believed, LEAST_NOISE)])
        return self._model(torch.cat([x, pending]), torch.cat([(y - self.mean) / self.deviation, believed]), noise)

    def _model(self, x: Tensor, y: Tensor, variance: Tensor) -> SingleTaskGP:
        model = SingleTaskGP(
            x,
            y,
            variance.clamp_min(LEAST_NOISE),
            covar_module=_kernel(x.shape[1], y.shape[1]),
            outcome_transform=None,
            input_transform=Remaining(),
        )
        own = model.state_dict()
        # Everything but the noise, which belongs to the data.
        model.load_state_dict(
            {**own, **{k: v for k, v in self.state.items() if v.shape == own[k].shape and "noise" not in k}}
        )
        return model.eval()

    def values(self, samples: Tensor) -> Tensor:
        """Model outputs ``[..., outputs]`` in the objectives' own units."""
        scaled = samples * self.deviation + self.mean
        return torch.stack([o.scale.inverse(scaled[..., i]) for i, o in enumerate(self.objectives)], -1)

    def slack(self, limit: Bound) -> Callable[[Tensor], Tensor]:
        """A constraint as BoTorch wants it: negative where kept."""
        i = self.objectives.index(limit.objective)
        edge = float(limit.objective.scale.forward(torch.tensor(limit.limit, dtype=torch.float64)))
        at = (edge - float(self.mean[i])) / float(self.deviation[i])
        return lambda samples: limit.sign * (at - samples[..., i])


def _scaled(objectives: Sequence[Objective], trials: Sequence[Trial]) -> tuple[Tensor, Tensor]:
    """Values and variances ``[trials, objectives]`` on the model's scales."""
    y = torch.tensor([[t.values[o.name] for o in objectives] for t in trials], dtype=torch.float64)
    variance = torch.tensor([[t.noise.get(o.name, 0.0) for o in objectives] for t in trials], dtype=torch.float64)
    slope = torch.stack([o.scale.slope(y[:, i]) for i, o in enumerate(objectives)], 1)
    return torch.stack([o.scale.forward(y[:, i]) for i, o in enumerate(objectives)], 1), variance * slope.square()
