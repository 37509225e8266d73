"""Captions: the adversary has the victim's own language model say what is in the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from atm.asked_encoder import FEW
from atm.threat import Observation
from attacks.base import Inferred, Inquiry

REQUEST = "Describe the picture."
LONGEST = 16  # words of the model


class Describe(Inquiry):
    """Asks nothing in particular: "Describe the picture.", always saying the likeliest word.

    A model whose projector was trained on short answers says little.
    """

    name: ClassVar[str] = "describe"

    def ask(self, seen: Observation, questions: Sequence[str], answers: Sequence[str]) -> Inferred:
        """A caption of each picture, whatever the questions."""
        found = list[str]()
        for rows in torch.arange(len(seen)).split(FEW):
            asked = [REQUEST] * len(rows)
            found += self.encoder.say(seen.select(rows).tokens, self.policy, asked, LONGEST)
        return Inferred(captions=tuple(found))
