"""What a recogniser makes of reconstructions: whose picture each is out of a gallery, and which class it sees."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from atm.data import Splits
from atm.errors import AtmError
from atm.recogniser import Recogniser
from atm.signals import ImageSignal
from atm.victims import Victim
from audit import harm
from privacy_metrics.recognition import centred, disordered, sighted
from reports.recognition import LIKENESS, PICKED, PLACE, SEEN

LEARNED = 200  # of the adversary's pictures, from which the means of classes are taken


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
        if signal.name != ImageSignal.name:
            raise AtmError(f"--recogniser looks at pictures, and victim {victim.name!r} takes in {signal.noun}s")
        digests = {victim.digest, victim.body}
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
        where the adversary's pictures have other classes.
        """
        found = self.recogniser.features(rebuilt)
        sighting = sighted(found, *self._originals)
        scores = {LIKENESS: sighting.likeness, PLACE: sighting.place.float(), PICKED: sighting.picked.float()}
        if self._means is not None:
            right = (centred(found).float() @ self._means.T).argmax(1) == self.data.victims.labels
            scores[SEEN] = right.float()
        return scores

    @cached_property
    def _originals(self) -> tuple[Tensor, Tensor]:
        """Features of the attacked pictures, and of their pieces in disorder."""
        originals = self.data.victims.inputs
        return self.recogniser.features(originals), self.recogniser.features(disordered(originals))

    @cached_property
    def _means(self) -> Tensor | None:
        """``[classes, f]``: the direction in which each class lies from the mean of all; 0 for one without pictures."""
        labels = harm.labels(self.data)
        if labels is None:
            return None
        rows = torch.arange(len(labels))[:LEARNED]
        apart = self.recogniser.features(self.data.hers[rows].cpu())
        apart = normalize(apart, dim=1) - normalize(apart, dim=1).mean(0)
        classes = one_hot(labels[rows], len(self.data.victims.classes)).float()
        return normalize(classes.T @ apart, dim=1)
