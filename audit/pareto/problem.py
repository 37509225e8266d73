"""What the search evaluates: a policy goes in, its numbers come out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from atm.policy import MergePolicy
from atm.signals import Signal
from atm.victims import Answers
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

    def measure(self, policy: MergePolicy, number: int = 0) -> Measured:
        """The numbers of one policy. An exception, or a number that is not finite, is a failed evaluation.

        Args:
            policy: to evaluate.
            number: of the trial; it may say on which pictures, so that not all have the same luck.
        """
        ...


@dataclass(frozen=True)
class Round:
    """Pictures on which some of the policies are evaluated.

    Attributes:
        images: ``[N, ...]`` as the victim takes them in.
        answers: that the victim ought to give.
        privacy: prepared for them.
        seed: of what is drawn while they are sent.
        base: each objective's values of the unmerged victim on them.
    """

    images: Tensor
    answers: Answers
    privacy: PrivacyScore
    seed: int
    base: dict[str, Tensor] = field(default_factory=dict)


class PolicyProblem:
    """Policies of one victim, on its data, over its channel.

    What is measured is what a policy changes: values are paired, image by image, with those of the unmerged victim,
    because the choice of images moves all policies together and does not change who is better. So policies can take
    turns with the images: each is evaluated on the images of a round, the mean of its differences is added to the
    unmerged victim's mean over all rounds, and what is luck for one policy is none for the next. Noise is the variance
    of the mean difference. Where no image of the sample changes, others may: that is part of it. Of what nothing but
    the images decides (`Objective.certain`) there is none where all policies see the same ones.

    Args:
        setting: victim, data, channel and adversary.
        measured: what to measure.
        score: makes what scores leakage of a kind of signal.
        lowest: lowest threshold of any layer.
        seed: of what is drawn.
        rules: what all policies share but for their thresholds and names; None takes the default.
        rounds: into how many the images are divided.
        say: called with a line for each step of the preparation.

    Raises:
        KnowledgeError: the threat model denies what the privacy score needs.
    """

    def __init__(
        self,
        setting: Setting,
        measured: Sequence[Objective],
        score: Callable[[Signal], PrivacyScore],
        lowest: float,
        seed: int = 0,
        rules: MergePolicy | None = None,
        rounds: int = 1,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.setting, self.measured = setting, tuple(measured)
        self._defended = any(link.defence is not None for link in setting.links.values())
        encoder = setting.encoder
        unmerged = MergePolicy.uniform(1.0, encoder.depth)
        self.rules = rules or unmerged
        every = setting.data.victims
        self.rounds = []
        for number, rows in enumerate(np.array_split(np.arange(len(every)), rounds)):
            some = every.subset(rows.tolist()) if rounds > 1 else every
            answers = setting.answers if setting.victim is None else setting.victim.answers(some)
            self.rounds.append(Round(some.inputs, answers, score(setting.signal), seed + 1 + number))
        noun = setting.signal.noun
        say(f"measuring how thresholds act on {len(self.images[:SPACED])} {noun}s")
        self.space = Space.of(encoder, self.images[:SPACED], lowest, self.rules)
        for number, each in enumerate(self.rounds, 1):
            say(f"measuring the unmerged victim on {len(each.images)} {noun}s, set {number} of {len(self.rounds)}")
            if any(objective.name == "leakage" for objective in measured):
                each.privacy.prepare(setting.link(self._ruled(unmerged)), setting.threat, each.images)
            each.base.update(self._values(unmerged, each))

    @property
    def images(self) -> Tensor:
        """Those of the first round."""
        return self.rounds[0].images

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
    def measure(self, policy: MergePolicy, number: int = 0) -> Measured:
        """Means over the images of a round, and their variances."""
        own = self.rounds[number % len(self.rounds)]
        values = self._values(policy, own)
        return Measured(
            {o.name: self._mean(o, values[o.name], own) for o in self.measured},
            {o.name: self._noise(o, values[o.name], own) for o in self.measured},
        )

    def _ruled(self, policy: MergePolicy) -> MergePolicy:
        """The rules with a policy's thresholds, numbers to remove and name."""
        return replace(self.rules, thresholds=policy.thresholds, remove=policy.remove, name=policy.name)

    def _mean(self, objective: Objective, values: Tensor, own: Round) -> float:
        if not objective.per_image or len(self.rounds) == 1:
            return float(values.mean())
        unmerged = torch.cat([each.base[objective.name] for each in self.rounds]).mean()
        moved = float(unmerged + values.mean() - own.base[objective.name].mean())
        return min(max(moved, 0.0), 1.0) if objective.binary else moved

    def _noise(self, objective: Objective, values: Tensor, own: Round) -> float:
        if objective.certain and len(self.rounds) == 1 and not self._defended:
            return 0.0
        if not objective.per_image:
            return float(values.var(correction=0)) / len(values)
        base = own.base[objective.name]
        unseen = 1.0 if objective.binary else max(float(v.var(correction=0)) for v in (values, base))
        return paired_variance(values - base, unseen)

    def _values(self, policy: MergePolicy, own: Round) -> dict[str, Tensor]:
        sample = Sample(self.setting.link(self._ruled(policy)), own.images, own.answers, own.privacy, own.seed)
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
