"""One decoder for many policies: trained once, it attacks a policy that it never saw in one forward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from atm import precision
from atm.knowledge import Knowledge
from atm.policy import MergePolicy
from atm.rows import kept
from atm.signals import arrays
from atm.threat import FEWEST, Observation, ThreatModel
from attacks.base import ALIGNABLE, OWN_DEVICE, Attack, Method, held_out, mean_and_scale, patch_features, require
from attacks.network import InversionNetwork, Size
from attacks.oracle import Oracle
from attacks.training import PIXELS, Schedule, train

PROBE = 32  # images that are sent at a time, which is a step of sending
NUMBERS = 2**31  # of all features together, at most: 8 GB on disk
SENDING = 0.3  # of a time budget, at most, goes into sending the auxiliary images; the rest is for training


@dataclass
class Amortized(Attack):
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
    needs: ClassVar[Knowledge] = Knowledge.AUXILIARY | OWN_DEVICE
    needs_one_of: ClassVar[tuple[Knowledge, ...]] = ALIGNABLE
    order: ClassVar[int] = 6
    standard: ClassVar[bool] = False
    QUICK: ClassVar[dict[str, Any]] = {"policies": 3, "most": 1000, "schedule": replace(PIXELS, steps=200, every=50)}

    policies: int = 12
    most: int = 3000
    schedule: Schedule = PIXELS

    @classmethod
    def share(cls, threat: ThreatModel) -> float:
        """Little: what one policy gives is there for the next, and where there is only one, others do better."""
        return 0.5

    def fit(self, oracle: Oracle) -> None:
        """Find the decoder of this system and adversary, or train it."""
        require(self, oracle.threat)
        self.thresholds = torch.tensor(oracle.policy().thresholds)
        self.complete = oracle.complete
        self.decoder = oracle.shared(ManyPolicies, policies=self.policies, most=self.most, schedule=self.schedule)
        self.history = self.decoder.history

    @torch.no_grad()
    def reconstruct(self, seen: Observation) -> Tensor:
        """One forward pass."""
        return self.decoder.rebuild(patch_features(self.complete(seen)), self.thresholds)


@dataclass
class ManyPolicies(Method):
    """The decoder behind `Amortized`, fitted to one system and to many policies for it."""

    name: ClassVar[str] = "many-policies"

    policies: int
    most: int
    schedule: Schedule

    def fit(self, oracle: Oracle) -> None:
        """Send the auxiliary images under every policy, then train on all of it."""
        signal, depth = arrays(oracle.signal), oracle.policy().depth
        chosen, rows = self._affordable(oracle, _spread(self.policies, oracle.policy()))
        self.signal, self.mean_image, count = signal, oracle.images.mean(0), len(rows)
        self.told = torch.tensor([policy.thresholds for policy in chosen], device=oracle.device)
        x = kept(features for policy in chosen for features in _features(oracle.under(policy), oracle.batches(rows)))
        self.mean, self.scale = mean_and_scale(part.flatten(0, 1) for part in x.split(64))
        self.network = InversionNetwork(x.shape[-1] + depth, 0, signal, Size.suited(signal)).to(oracle.device)

        def loss_on(part: Tensor) -> Tensor:
            which, images = part // count, oracle.images[rows[part % count]]
            return signal.loss(self._run(self._standard(x[part]), self.told[which]), images)

        offsets = torch.arange(len(chosen))[:, None] * count
        train_rows, validation = ((offsets + part).flatten() for part in held_out(count))
        few = validation[torch.randperm(len(validation))[:512]]
        what = "the amortized decoder"
        self.history = train(self.network, loss_on, train_rows, few, self.schedule, what, oracle.budget)
        self.history.cut = self.history.cut or len(chosen) < self.policies or count < self.most <= len(oracle.images)

    def _affordable(self, oracle: Oracle, policies: list[MergePolicy]) -> tuple[list[MergePolicy], Tensor]:
        """The policies, and rows of the auxiliary images, that can be sent in `SENDING` of the time.

        Few policies are worth more than few images, so images are given up last.
        """
        device, few = oracle.own_device(), oracle.images[:PROBE]
        each = len(policies) * oracle.signal.places * 2 * device.encoder.width
        count = min(self.most, len(oracle.images), max(NUMBERS // each, FEWEST))
        batches = -(-count // PROBE)
        sending = oracle.budget.part(SENDING, "sending")
        steps = sending.steps("images", batches * len(policies), lambda: device.transmit(few), least=1)
        sent = policies[: max(steps // batches, 1)]
        return sent, _few(len(oracle.images), max(min(count, steps * PROBE), FEWEST))

    def rebuild(self, features: Tensor, thresholds: Tensor) -> Tensor:
        """Features ``[B, P, f]`` under one policy ``[layers]`` -> ``[B, C, H, W]`` in [0, 1]."""
        told = thresholds.to(features.device)
        parts = [self._run(self._standard(part), told.expand(len(part), -1)) for part in features.split(64)]
        return self.signal.clip(torch.cat(parts))

    def _standard(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.scale

    def _run(self, features: Tensor, thresholds: Tensor) -> Tensor:
        told = (1 - thresholds)[:, None].expand(-1, features.shape[1], -1)
        with precision.fast(features.device):
            start = self.mean_image.expand(len(features), -1, -1, -1)
            return self.network(start, torch.cat([features, told.to(features.dtype)], -1)).float()


def _features(oracle: Oracle, parts: Iterable[Tensor]) -> Iterator[Tensor]:
    """``[n, P, f]`` of what she sees of parts of her images under one policy; they are sent for this alone."""
    for number, rows in enumerate(parts):
        yield patch_features(oracle.complete(oracle.tap(oracle.images[rows], number)))


def _spread(count: int, like: MergePolicy) -> list[MergePolicy]:
    """Policies from no merging to much, which match and merge as another does."""
    depth = like.depth
    uniform = [(t,) * depth for t in [1.0, 0.8, 0.4, 0.9][: max(count, 1)]]
    random = torch.rand(max(count - len(uniform), 0), depth).sqrt() * 0.7 + 0.3
    thresholds = [*uniform, *map(tuple, random.tolist())]
    return [replace(like, thresholds=t, remove=(), name=f"many-{n}") for n, t in enumerate(thresholds)]


def _few(count: int, most: int) -> Tensor:
    """Rows of at most so many images, a tenth of them from the held-out ones."""
    train, validation = held_out(count)
    held = max(min(most, count) // 10, 1)
    return torch.cat([train[: max(most - held, 1)], validation[:held]])
