"""Captions: the adversary has the victim's own language model say what is in the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from atm.asked_encoder import FEW, AskedEncoder
from atm.knowledge import Knowledge
from atm.threat import Observation
from attacks.base import Inferred, Inquiry, require
from attacks.oracle import OWN_DEVICE, Oracle

REQUEST = "Describe the picture."
LONGEST = 16  # words of the model


class Describe(Inquiry):
    """Asks nothing in particular: "Describe the picture.", always saying the likeliest word.

    A model whose projector was trained on short answers says little.
    """

    name: ClassVar[str] = "describe"
    needs: ClassVar[Knowledge] = OWN_DEVICE

    def fit(self, oracle: Oracle) -> None:
        """Nothing but the victim's own weights is needed."""
        require(self, oracle.threat)
        self.link = oracle.own_device()

    def ask(self, seen: Observation, questions: Sequence[str], answers: Sequence[str]) -> Inferred:
        """A caption of each picture, whatever the questions."""
        found, encoder = list[str](), self.link.encoder
        assert isinstance(encoder, AskedEncoder)
        for rows in torch.arange(len(seen)).split(FEW):
            asked = [REQUEST] * len(rows)
            found += encoder.say(seen.select(rows).tokens, self.link.policy, asked, LONGEST)
        return Inferred(captions=tuple(found))
