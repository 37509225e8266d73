"""One decoder for many policies: trained once, it attacks a policy that it never saw in one forward pass."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from atm import precision
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import FEWEST, Knowledge, Observation, ThreatModel
from attacks.alignment import ALIGNABLE, aligned
from attacks.base import held_out, patch_features
from attacks.budget import remaining, spent, time_budget
from attacks.network import InversionNetwork
from attacks.shared import fitted
from attacks.training import PIXELS, Schedule, reconstruction_loss, train

PROBE = 32  # images whose sending is timed
SENDING = 0.3  # of a time budget, at most, goes into sending the auxiliary images; the rest is for training


@dataclass
class Amortized:
    """The decoder's network, told the policy's thresholds, on what several random policies do to the same images.

    Who has the weights can run the encoder under any policy. So it is fitted once for an encoder, channel and
    adversary, and each policy that is attacked later finds it there. Only the alignment of tokens with patches, where
    the merge map is hidden, is learned anew for each policy.

    Attributes:
        policies: to train on: none, then one threshold for all layers, then random ones per layer.
        most: auxiliary images to send under each of them.
        schedule: of the training.
    """

    name: ClassVar[str] = "amortized"
    needs: ClassVar[Knowledge] = Knowledge.AUXILIARY | Knowledge.POLICY | Knowledge.WEIGHTS
    needs_one_of: ClassVar[tuple[Knowledge, ...]] = ALIGNABLE
    order: ClassVar[int] = 6
    QUICK: ClassVar[dict[str, Any]] = {"policies": 3, "most": 1000, "schedule": replace(PIXELS, steps=200, every=50)}

    policies: int = 12
    most: int = 3000
    schedule: Schedule = PIXELS

    @classmethod
    def share(cls, threat: ThreatModel) -> float:
        """Little: what one policy gives is there for the next, and where there is only one, others do better."""
        return 0.5

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Find the decoder of this encoder and adversary, or train it."""
        threat.require(self.needs, self.name)
        self.thresholds = torch.tensor(link.policy.thresholds)
        self.align = aligned(link, threat, images)
        system = link.with_policy(MergePolicy.uniform(1.0, link.encoder.depth))
        key = {"policies": self.policies, "most": self.most, "schedule": self.schedule, "system": _system(link)}
        self.decoder = fitted(ManyPolicies, system, threat, images, owner=link.encoder, **key)
        self.history = self.decoder.history

    @torch.no_grad()
    def reconstruct(self, seen: Observation) -> Tensor:
        """One forward pass."""
        return self.decoder.rebuild(patch_features(self.align(seen)), self.thresholds)


@dataclass
class ManyPolicies:
    """The decoder behind `Amortized`, fitted to one system and to many policies for it."""

    name: ClassVar[str] = "amortized"

    policies: int
    most: int
    schedule: Schedule
    system: str

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Send the auxiliary images under every policy, then train on all of it."""
        images, depth = images[_few(len(images), _affordable(link, images, self.most))], link.encoder.depth
        self.mean_image = images.mean(0)
        chosen = _spread(self.policies, depth)
        features: list[Tensor] = []
        with time_budget(SENDING * remaining()):
            while len(features) < len(chosen) and not (features and spent()):
                one = link.with_policy(chosen[len(features)])
                features.append(patch_features(aligned(one, threat, images)(threat.tap_images(one, images))))
        fewer = len(features) < len(chosen)
        chosen = chosen[: len(features)]
        x, self.told = torch.stack(features), torch.tensor([policy.thresholds for policy in chosen])
        self.mean, self.scale = x.flatten(0, 2).mean(0), x.flatten(0, 2).std(0).clamp_min(1e-6)
        x = precision.stored((x - self.mean) / self.scale)
        side = images.shape[-1] // link.encoder.patch_grid[1]
        self.network = InversionNetwork(x.shape[-1] + depth, 0, link.encoder.patch_grid, side, 128, 1)

        def loss_on(rows: Tensor) -> Tensor:
            which, image = rows // len(images), rows % len(images)
            return reconstruction_loss(self._run(x[which, image], self.told[which]), images[image])

        offsets = torch.arange(len(chosen))[:, None] * len(images)
        train_rows, validation = ((offsets + rows).flatten() for rows in held_out(len(images)))
        few = validation[torch.randperm(len(validation))[:512]]
        self.history = train(self.network, loss_on, train_rows, few, self.schedule, "the amortized decoder")
        self.history.cut = self.history.cut or fewer

    def rebuild(self, features: Tensor, thresholds: Tensor) -> Tensor:
        """Features ``[B, P, f]`` under one policy ``[layers]`` -> ``[B, 3, H, W]`` in [0, 1]."""
        x = precision.stored((features - self.mean) / self.scale)
        parts = [self._run(part, thresholds.expand(len(part), -1)) for part in x.split(256)]
        return torch.cat(parts).clamp(0, 1)

    def _run(self, features: Tensor, thresholds: Tensor) -> Tensor:
        told = (1 - thresholds)[:, None].expand(-1, features.shape[1], -1)
        with precision.fast(features.device):
            start = self.mean_image.expand(len(features), -1, -1, -1)
            return self.network(start, torch.cat([features, told.to(features.dtype)], -1)).float()


def _spread(count: int, depth: int) -> list[MergePolicy]:
    """Policies from no merging to much."""
    uniform = [1.0, 0.8, 0.4, 0.9][: max(count, 1)]
    random = torch.rand(max(count - len(uniform), 0), depth).sqrt() * 0.7 + 0.3
    return [MergePolicy.uniform(t, depth) for t in uniform] + [MergePolicy(tuple(row)) for row in random.tolist()]


def _affordable(link: Link, images: Tensor, most: int) -> int:
    """How many images can be sent under one policy in `SENDING` of the time, by how long a few take."""
    if remaining() == math.inf:
        return most
    few, begun = images[:PROBE], time.monotonic()
    link.transmit(few)
    rate = len(few) / max(time.monotonic() - begun, 1e-6)
    return max(min(most, int(SENDING * remaining() * rate)), FEWEST)


def _few(count: int, most: int) -> Tensor:
    """Rows of at most so many images, a tenth of them from the held-out ones."""
    train, validation = held_out(count)
    held = max(min(most, count) // 10, 1)
    return torch.cat([train[: max(most - held, 1)], validation[:held]])


def _system(link: Link) -> str:
    """All of a link but its policy and encoder, so that another one is another key."""
    return f"{id(link.codec)} {link.channel} {id(link.defence)} {getattr(link, '_salt', 0)}"
