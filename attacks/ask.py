"""The adversary's own question: a language model that answers the user's answers hers of the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch

from atm.asked_encoder import AskedEncoder
from atm.knowledge import Knowledge
from atm.threat import Observation
from attacks.base import Inferred, Inquiry, require
from attacks.oracle import OWN_DEVICE, Oracle

FEW = 32  # pictures whose tokens are copied at a time


class Ask(Inquiry):
    """Hands the tokens that she sees to her own copy of the language model, with a question that the user did not ask.

    She takes the answer with the least loss among those that the data have.
    """

    name: ClassVar[str] = "ask"
    needs: ClassVar[Knowledge] = OWN_DEVICE

    def fit(self, oracle: Oracle) -> None:
        """Nothing but the victim's own weights is needed."""
        require(self, oracle.threat)
        self.link = oracle.own_device()

    def ask(self, seen: Observation, questions: Sequence[str], answers: Sequence[str]) -> Inferred:
        """An answer to each question."""
        found, encoder = [], self.link.encoder
        assert isinstance(encoder, AskedEncoder)
        for rows in torch.arange(len(seen)).split(FEW):
            asked = [questions[row] for row in rows.tolist()]
            scored = encoder.score(seen.select(rows).tokens, self.link.policy, asked, answers)
            found.append(scored.losses.argmin(-1))
        return Inferred(answers=torch.cat(found))
