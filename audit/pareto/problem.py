"""What the search evaluates: a policy goes in, its numbers come out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from atm.policy import MergePolicy
from audit.pareto.objectives import Objective, Sample
from audit.pareto.privacy import PrivacyScore
from audit.pareto.space import Space
from audit.pareto.trials import Measured
from audit.setting import Setting

PROBED = 8  # images on which two policies must merge alike to count as one
SPACED = 64  # images that say how thresholds act


class Problem(Protocol):
    """Anything that the loop can search."""

    space: Space

    def effect(self, policy: MergePolicy) -> str:
        """What identifies a policy's merges, for little: equal strings mean that an evaluation would be wasted."""
        ...

    def measure(self, policy: MergePolicy) -> Measured:
        """The numbers of one policy. An exception, or a number that is not finite, is a failed evaluation."""
        ...


class PolicyProblem:
    """Policies of one victim, on its data, over its channel.

    Noise is the variance of what the policy changes: values are paired, image by image, with those of the unmerged
    victim, because the choice of images moves all policies together and does not change who is better. Where no image
    of the sample changes, others may: that is part of it.

    Args:
        setting: victim, data, channel and adversary.
        measured: what to measure.
        privacy: how leakage is scored.
        lowest: lowest threshold of any layer.
        rules: what all policies share but for their thresholds and names; None takes the default.

    Raises:
        KnowledgeError: the threat model denies what the privacy score needs.
    """

    def __init__(
        self,
        setting: Setting,
        measured: Sequence[Objective],
        privacy: PrivacyScore,
        lowest: float,
        seed: int = 0,
        rules: MergePolicy | None = None,
    ) -> None:
        self.setting, self.measured, self.privacy, self.seed = setting, tuple(measured), privacy, seed
        self.images = setting.data.victims.inputs
        encoder = setting.encoder
        unmerged = MergePolicy.uniform(1.0, encoder.depth)
        self.rules = rules or unmerged
        self.space = Space.of(encoder, self.images[:SPACED], lowest, self.rules)
        if any(objective.name == "leakage" for objective in measured):
            privacy.prepare(setting.link(self._ruled(unmerged)), setting.threat, self.images)
        self._base: dict[str, Tensor] = {}
        self._base = self._values(unmerged)

    @torch.no_grad()
    def effect(self, policy: MergePolicy) -> str:
        """A digest of the tokens left after each layer and of the merge maps, on a few images."""
        images = self.images[:PROBED].to(self.setting.encoder.device)
        encoded = self.setting.encoder(images, self._ruled(policy))
        assert encoded.tokens.source is not None
        digest = hashlib.sha256(encoded.layer_tokens.cpu().numpy().tobytes())
        digest.update(encoded.tokens.source.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    @torch.no_grad()
    def measure(self, policy: MergePolicy) -> Measured:
        """Means over the images, and their variances."""
        values = self._values(policy)
        return Measured(
            {name: float(v.mean()) for name, v in values.items()},
            {o.name: self._noise(o, values[o.name]) for o in self.measured},
        )

    def _ruled(self, policy: MergePolicy) -> MergePolicy:
        """The rules with a policy's thresholds and name."""
        return replace(self.rules, thresholds=policy.thresholds, name=policy.name)

    def _noise(self, objective: Objective, values: Tensor) -> float:
        if not objective.per_image:
            return float(values.var(correction=0)) / len(values)
        base = self._base[objective.name]
        unseen = 1.0 if objective.binary else max(float(v.var(correction=0)) for v in (values, base))
        return paired_variance(values - base, unseen)

    def _values(self, policy: MergePolicy) -> dict[str, Tensor]:
        sample = Sample(
            self.setting.link(self._ruled(policy)), self.images, self.setting.answers, self.privacy, self.seed + 1
        )
        return {objective.name: objective.measure(sample).double() for objective in self.measured}


def paired_variance(differences: Tensor, unseen: float) -> float:
    """Variance of the mean of ``[n]`` paired differences, with two images more than were seen.

    Of two 0/1 outcomes the added images are one that does not change and one that changes by +1 or -1, half of each:
    the correction of Agresti & Min (Statistics in Medicine 2005), half a pair in each cell of the two-by-two table.
    So n images without a change do not prove that there are none. For other numbers the change is as large as images
    differ from one another.

    Args:
        differences: ``[n]``.
        unseen: the square of how much an image may change.
    """
    total = len(differences) + 2
    mean = differences.sum() / total
    return (float(differences.square().sum() + unseen) / total - float(mean) ** 2) / total
