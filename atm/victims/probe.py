"""Linear heads for victims: logistic regression on what a model's own head would read, fitted to labelled pictures."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from atm.data import Samples
from atm.encoder import Encoder
from atm.errors import AtmError
from atm.finite import check_finite
from atm.policy import MergePolicy
from atm.progress import track
from atm.victims.victim import Victim
from atm.weight_files import file_digest, load_state, read_weights, state_digest

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)  # of the squared weights of standardised features; the best on held-out pictures
HELD_OUT = 0.2
STEPS = 200


class Head(NamedTuple):
    """A linear head and what goes into its file."""

    linear: nn.Linear
    description: dict[str, Any]


@torch.no_grad()
def features(encoder: Encoder, images: Samples, batch: int = 32) -> Tensor:
    """``[N, features]``: what the task head reads of the unmerged last layer's tokens, on the CPU."""
    policy = MergePolicy.preset("none", encoder.depth)
    parts = torch.arange(len(images)).split(batch)
    rows = [
        encoder.pool(encoder(images.subset(part).inputs.to(encoder.device), policy).tokens, policy)
        for part in track(parts, "computing features")
    ]
    return torch.cat(rows).cpu()


def fit(victim: Victim, train: Samples, *, seed: int = 0, report: Callable[[str], None] = lambda line: None) -> Head:
    """Fit a head to labelled pictures; its classes are theirs.

    Multinomial logistic regression on standardised features; its penalty is the one that is most often right on a fifth
    of the pictures, which are then learned from as well.

    Args:
        victim: whose features are read; whatever head it has is ignored.
        train: labelled pictures of at least two classes.
        seed: of the fifth that is held out.
        report: called with a line about the penalties.

    Raises:
        AtmError: fewer than two classes, or features with NaN.
    """
    if len(train.classes) < 2:
        raise AtmError(f"a head needs at least two classes to tell apart; {train.name} has {len(train.classes)}")
    x, y = features(victim.encoder, train), train.labels
    check_finite(f"features of victim {victim.name!r}", x)
    centre, scale = x.mean(0), x.std(0).clamp_min(1e-6)
    z = (x - centre) / scale
    order = torch.randperm(len(z), generator=torch.Generator().manual_seed(seed))
    held, rest = order[: max(1, round(HELD_OUT * len(z)))], order[max(1, round(HELD_OUT * len(z))) :]
    right = {}
    for penalty in PENALTIES:
        weight, bias = _regression(z[rest], y[rest], len(train.classes), penalty)
        right[penalty] = float(((z[held] @ weight.T + bias).argmax(-1) == y[held]).float().mean())
        report(f"penalty {penalty:g}: right about {right[penalty]:.1%} of {len(held)} held-out pictures")
    penalty = max(PENALTIES, key=lambda each: right[each])
    weight, bias = _regression(z, y, len(train.classes), penalty)
    linear = nn.Linear(weight.shape[1], len(weight))
    with torch.no_grad():
        linear.weight.copy_(weight / scale)
        linear.bias.copy_(bias - (weight / scale) @ centre)
    return Head(
        linear.requires_grad_(False),
        {
            "kind": "head",
            "victim": victim.digest,
            "classes": list(train.classes),
            "data": {"name": train.name, "images": len(train), "digest": train.digest},
            "penalty": penalty,
            "held_out_accuracy": round(right[penalty], 4),
            "seed": seed,
        },
    )


def _regression(z: Tensor, y: Tensor, classes: int, penalty: float) -> tuple[Tensor, Tensor]:
    """Weights ``[classes, features]`` and biases of multinomial logistic regression, by L-BFGS in float64."""
    z = z.double()
    weight = torch.zeros(classes, z.shape[1], dtype=z.dtype, requires_grad=True)
    bias = torch.zeros(classes, dtype=z.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(z @ weight.T + bias, y) + penalty / 2 * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return weight.detach().float(), bias.detach().float()


def with_head(victim: Victim, head: Head) -> Victim:
    """The victim with another head; it shares the rest of its weights."""
    vit: Any = copy.copy(victim.encoder.vit)
    vit._modules = dict(vit._modules)  # so that the victim keeps its own head
    vit.head = head.linear
    if hasattr(vit, "head_dist"):
        vit.head_dist = head.linear  # two heads whose answers are averaged: the average of both tokens' answers
    vit.num_classes = head.linear.out_features
    return replace(
        victim,
        encoder=victim.encoder.around(vit),
        classes=tuple(head.description["classes"]),
        digest=state_digest(vit),
        body=victim.body or victim.digest,
        description={
            **{key: value for key, value in victim.description.items() if key != "outputs"},
            "head": head.description,
        },
        task="classification",
    )


def probed(victim: Victim, train: Samples, *, seed: int = 0) -> Victim:
    """The victim with a head fitted to labelled pictures."""
    return with_head(victim, fit(victim, train, seed=seed))


def with_head_file(victim: Victim, path: Path) -> Victim:
    """The victim with the head in a file of ``atm train head``.

    Raises:
        AtmError: the file holds no head, or that of another victim.
    """
    description, state = read_weights(path, "head")
    if description.get("victim") != victim.digest:
        raise AtmError(f"head {path} was fitted to another victim than {victim.name!r}; fit one with 'atm train head'")
    weight = state.get("weight")
    classes = description.get("classes")
    if weight is None or weight.ndim != 2 or not isinstance(classes, list) or len(classes) != len(weight):
        raise AtmError(f"{path} describes no head of this version; fit one with 'atm train head'")
    linear = nn.Linear(weight.shape[1], len(weight)).requires_grad_(False)
    load_state(linear, state, path)
    return with_head(victim, Head(linear, {**description, "digest": file_digest(path)}))
