"""What a recogniser makes of reconstructions: whose picture each is out of a gallery, and which class it sees."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from atm.data import Splits
from atm.data.sets import sample
from atm.errors import AtmError
from atm.recogniser import Recogniser, beginning
from atm.signals import ImageSignal
from atm.victims import Victim
from audit import harm
from privacy_metrics.recognition import centred, disordered, sighted
from reports.recognition import LIKENESS, PICKED, PLACE, SEEN

LEARNED = 200  # of the adversary's pictures at most, from which the means of classes are taken


@dataclass(frozen=True)
class Recognition:
    """A recogniser with the attacked pictures and the adversary's own before it.

    Attributes:
        recogniser: that looks.
        data: at what.
    """

    recogniser: Recogniser
    data: Splits

    @classmethod
    def load(cls, name: str, weights: str | None, victim: Victim, data: Splits) -> Recognition:
        """A recogniser by name, before the pictures of a victim.

        Raises:
            AtmError: the victim takes in no pictures, or see `atm.recogniser.Recogniser.load`.
        """
        signal = victim.encoder.signal
        if not isinstance(signal, ImageSignal):
            raise AtmError(f"--recogniser looks at pictures, and victim {victim.name!r} takes in {signal.noun}s")
        digests = {victim.digest, victim.body, beginning(victim.encoder)}
        return cls(Recogniser.load(name, weights, digests, victim.encoder.device), data)

    @property
    def about(self) -> dict[str, Any]:
        """What a run says of it."""
        return {"name": self.recogniser.name, "digest": self.recogniser.digest}

    @property
    def heading(self) -> str:
        """Of the likeness, for people."""
        return f"likeness ({self.recogniser.name})"

    def scores(self, rebuilt: Tensor) -> dict[str, Tensor]:
        """Scores ``[B]`` of reconstructions of all attacked pictures, under the names of `reports.recognition`.

        ``label_seen`` says whether the class whose mean is the most alike is the picture's own, 0 or 1; it is missing
        where the adversary's pictures have other classes, or those looked at too few of the victims' (`audit.harm`).
        """
        found = self.recogniser.features(rebuilt)
        sighting = sighted(found, *self._originals)
        scores = {LIKENESS: sighting.likeness, PLACE: sighting.place.float(), PICKED: sighting.picked.float()}
        if self._means is not None:
            classes, means = self._means
            guessed = classes[(centred(found).float() @ means.T).argmax(1)]
            scores[SEEN] = (guessed == self.data.victims.labels).float()
        return scores

    @cached_property
    def _originals(self) -> tuple[Tensor, Tensor]:
        """Features of the attacked pictures, and of their pieces in disorder."""
        originals = self.data.victims.inputs
        return self.recogniser.features(originals), self.recogniser.features(disordered(originals))

    @cached_property
    def _means(self) -> tuple[Tensor, Tensor] | None:
        """``[k]`` classes of which she has pictures, and ``[k, f]``: where each lies from the mean of all."""
        labels = harm.labels(self.data)
        if labels is None:
            return None
        rows = balanced(labels, LEARNED)
        if not harm.covered(self.data, labels[rows]):
            return None
        apart = self.recogniser.features(self.data.hers[rows].cpu())
        apart = normalize(apart, dim=1) - normalize(apart, dim=1).mean(0)
        classes, number = labels[rows].unique(return_inverse=True)
        return classes, normalize(one_hot(number).float().T @ apart, dim=1)


def balanced(labels: Tensor, count: int) -> Tensor:
    """At most so many of the numbers of labels ``[N]``, drawn at random, as equally many of each class as there are."""
    order, drawn = sample(len(labels), None, 0), Counter[int]()
    turns = []
    for label in labels[order].tolist():
        turns.append(drawn[label])
        drawn[label] += 1
    return order[torch.tensor(turns).argsort(stable=True)[:count]]
