"""Merging that learns, behind a frozen victim: thresholds alone (LTMP), or what is compared as well (DTEM).

Both learn through `atm.soft`, from the divergence (KL) from the unmerged victim's answers, a target of FLOPs, and where
asked what a linear adversary reads of the tokens. What comes out is an ordinary policy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, linear

from atm import matching, precision, soft
from atm.calibration import policy_saving, shifted
from atm.data import Samples
from atm.encoder import Encoder
from atm.errors import AtmError
from atm.leak import explained
from atm.maps import Maps
from atm.matching import Projected
from atm.policy import MergePolicy
from atm.progress import track
from atm.seeds import seed_of
from atm.signals import arrays
from atm.tokens import TokenBatch
from atm.victims import Victim

Learn = Literal["matching", "thresholds"]
LEARNS: tuple[Learn, ...] = ("matching", "thresholds")
WIDE = 1024  # values per token from which on maps have twice a head's size, as in DTEM
FIRST = 8192  # tokens of the pictures that thresholds and maps start from, and are brought to the target on at the end
BETAS = (0.9, 0.99)  # of Adam


@dataclass(frozen=True)
class Recipe:
    """How merging is trained.

    Attributes:
        spend: part of the device's unmerged FLOPs that is to be spent, in (0, 1).
        learn: ``matching``, maps and thresholds; or ``thresholds`` alone, on values.
        privacy: weight of the leak, the part of the patches' variance that a linear adversary explains.
        steps: of Adam, under a cosine schedule.
        batch: pictures per step.
        flops_weight: of the squared distance from ``spend``. LTMP has 10 beside a cross-entropy; what merging moves a
            frozen victim's answers by is a hundredth of one.
        map_rate: peak learning rate of the maps.
        threshold_rate: of the thresholds.
    """

    spend: float
    learn: Learn = "matching"
    privacy: float = 0.0
    steps: int = 400
    batch: int = 32
    flops_weight: float = 100.0
    map_rate: float = 1e-3
    threshold_rate: float = 2e-3


class Gates(nn.Module):
    """What is learned: a threshold for each layer, and maps where the matching is learned.

    Args:
        start: the policy from which they start.
    """

    def __init__(self, start: MergePolicy) -> None:
        super().__init__()
        self.start = start
        self.thresholds = nn.Parameter(torch.tensor(start.thresholds))
        maps = start.maps
        self.weights = nn.ParameterList([] if maps is None else [w.clone() for w in maps.weights])
        self.biases = nn.ParameterList([] if maps is None else [b.clone() for b in maps.biases])

    def metric(self, layer: int, tokens: TokenBatch, projected: Projected) -> Tensor:
        """What is compared at a layer; the gradient ends at the maps (DTEM)."""
        if self.start.maps is None:
            return matching.metric(self.start, layer, tokens, projected).detach()
        return linear(projected.normed.detach(), self.weights[layer], self.biases[layer])

    def policy(self) -> MergePolicy:
        """The policy that they are now."""
        maps = self.start.maps
        if maps is not None:
            maps = Maps.of(list(zip(self.weights, self.biases, strict=True)), maps.description)
        return replace(self.start, thresholds=tuple(round(t, 6) for t in self.thresholds.tolist()), maps=maps)


class MergingTraining:
    """A training in progress, that can be put down after any step and taken up again.

    Args:
        victim: stays as it is; it needs a task.
        train: pictures to learn from; their labels are not asked for.
        recipe: what is learned.
        exit_layer: after which the tokens leave the device; None is the last.
        seed: of the order of the pictures.

    Attributes:
        step: how many are done.

    Raises:
        AtmError: more than merging half of the tokens at every layer would save, or a loss that is no number.
    """

    def __init__(
        self, victim: Victim, train: Samples, recipe: Recipe, exit_layer: int | None = None, seed: int = 0
    ) -> None:
        self.encoder, self.train, self.recipe, self.seed, self.step = victim.encoder, train, recipe, seed, 0
        self.signal = arrays(self.encoder.signal)
        self.first = first_of(self.encoder, train)
        self.gates = Gates(self._start(victim, exit_layer)).to(self.encoder.device)
        self.everything = replace(self.gates.start, thresholds=(0.0,) * self.encoder.depth)  # merges at every layer
        self.dense = MergePolicy.uniform(1.0, self.encoder.depth, exit_layer=exit_layer)
        maps = [*self.gates.weights, *self.gates.biases]
        groups: list[dict[str, Any]] = [{"params": [self.gates.thresholds], "peak": recipe.threshold_rate}]
        groups += [{"params": maps, "peak": recipe.map_rate}] if maps else []
        self.optimizer = torch.optim.Adam(groups, betas=BETAS)

    def _start(self, victim: Victim, exit_layer: int | None) -> MergePolicy:
        saved = 1 - self.recipe.spend
        options: dict[str, Any] = {"exit_layer": exit_layer}
        if self.recipe.learn == "matching":
            described = {"victim": victim.body or victim.digest, "spend": self.recipe.spend, "seed": self.seed}
            options |= {"match": "learned", "maps": value_maps(self.encoder, self.first, described)}
        start = policy_saving(self.encoder, self.first, saved, **options)
        return shifted(self.encoder, self.first, start.renamed("learned"), self.recipe.spend)

    def steps(self) -> Iterator[dict[str, float]]:
        """Take the steps that are left; after each, what it lost by."""
        answers = self._unmerged() if self.step < self.recipe.steps else torch.empty(0)
        while self.step < self.recipe.steps:
            yield self._one(answers)

    @torch.no_grad()
    def _unmerged(self) -> Tensor:
        """``[N, classes]`` log-probabilities that the unmerged victim gives the training pictures."""
        parts = torch.arange(len(self.train)).split(64)
        found = [
            self.encoder.finish(
                self.encoder(_images(self.encoder, self.train, part), self.dense).tokens, self.dense
            ).log_softmax(-1)
            for part in track(parts, "asking the unmerged victim")
        ]
        return torch.cat(found)

    def _one(self, answers: Tensor) -> dict[str, float]:
        recipe, gates = self.recipe, self.gates
        generator = torch.Generator().manual_seed(seed_of("merging", self.seed, self.step))
        rows = torch.randperm(len(self.train), generator=generator)[: recipe.batch]
        images = _images(self.encoder, self.train, rows)
        with precision.fast(images.device):
            tokens, counts = soft.run(
                self.encoder, images, gates.start, gates.thresholds, gates.metric, with_map=recipe.privacy > 0
            )
            logits = soft.finish(self.encoder, tokens, gates.start)
        task = kl_div(logits.float().log_softmax(-1), answers[rows], log_target=True, reduction="batchmean")
        spent = self._spent(counts)
        loss = task + recipe.flops_weight * (spent - recipe.spend) ** 2
        leak = images.new_zeros(())
        if recipe.privacy > 0:
            leak = explained(tokens.per_patch(), self.signal.to_units(images))
            loss = loss + recipe.privacy * leak
        if not bool(loss.isfinite()):
            raise AtmError(f"merging cannot be learned: the loss of step {self.step + 1} is no finite number")
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * (1 + math.cos(math.pi * self.step / recipe.steps)) / 2
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            gates.thresholds.clamp_(0.0, 1.0)
        self.step += 1
        told = {"divergence": task, "flops": spent, "leak": leak}
        return {"step": self.step, **{name: float(value.detach()) for name, value in told.items()}}

    def _spent(self, counts: Tensor) -> Tensor:
        """The part of the device's unmerged FLOPs that so many tokens ``[layers + 1, B]`` take, on average."""
        counts = counts.cpu()
        dense = self.encoder.flops(counts[:1].detach().expand_as(counts), self.dense)
        return (self.encoder.flops(counts, self.everything) / dense).mean().float().to(self.encoder.device)

    def state(self) -> dict[str, Tensor]:
        """All that the next step depends on, but for pictures and victim."""
        state = {f"gates.{name}": tensor for name, tensor in self.gates.state_dict().items()}
        for number, moments in self.optimizer.state_dict()["state"].items():
            state |= {f"adam.{number}.{name}": torch.as_tensor(value) for name, value in moments.items()}
        return {**state, "step": torch.tensor(self.step)}

    def take_up(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        self.gates.load_state_dict({name[6:]: t for name, t in state.items() if name.startswith("gates.")})
        packed = self.optimizer.state_dict()
        for name, tensor in state.items():
            if name.startswith("adam."):
                _, number, moment = name.split(".")
                packed["state"].setdefault(int(number), {})[moment] = tensor
        self.optimizer.load_state_dict(packed)
        self.step = int(state["step"])

    def policy(self, name: str) -> MergePolicy:
        """The policy that was learned, its thresholds shifted together to where the FLOPs are as asked for."""
        return shifted(self.encoder, self.first, self.gates.policy().renamed(name), self.recipe.spend)


@torch.no_grad()
def value_maps(encoder: Encoder, images: Tensor, description: dict[str, Any], compared: int | None = None) -> Maps:
    """Maps under which tokens are as alike as their values are, as far as so many values can tell.

    Args:
        encoder: the victim.
        images: ``[B, C, H, W]`` in [0, 1], whose values' principal directions are taken.
        description: of the maps.
        compared: values that are compared; None is a head's size, as many as all values loses nothing.
    """
    policy = MergePolicy.uniform(1.0, encoder.depth)
    tokens, found = encoder.start(images), []
    for layer in range(encoder.depth):
        mixed, projected = encoder.mix(tokens, policy, layer)
        tokens = encoder.transform(mixed, layer)
        values, normed = projected.values.flatten(1).double().cpu(), projected.normed.double().cpu()
        kept = compared or projected.values.shape[-1] * (2 if encoder.width >= WIDE else 1)
        directions = torch.linalg.eigh(values.T @ values).eigenvectors.flip(-1)[:, :kept]
        one = torch.cat((normed, torch.ones_like(normed[:, :1])), 1)
        solved = torch.linalg.lstsq(one, values @ directions, driver="gelsd").solution
        found.append((solved[:-1].T.float(), solved[-1].float()))
    return Maps.of(found, description)


def first_of(encoder: Encoder, data: Samples) -> Tensor:
    """``[B, C, H, W]`` in [0, 1]: the pictures on which thresholds are chosen, as many as `FIRST` tokens are of."""
    rows, columns = encoder.patch_grid
    return _images(encoder, data, torch.arange(min(max(FIRST // (rows * columns), 2), len(data))))


def _images(encoder: Encoder, data: Samples, rows: Tensor) -> Tensor:
    return data.subset(rows).inputs.to(encoder.device)
