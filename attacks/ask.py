"""The adversary's own question: a language model that answers the user's answers hers of the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from atm.asked_encoder import AskedEncoder
from atm.knowledge import Knowledge
from atm.threat import Observation
from attacks.base import Inferred, Inquiry, require
from attacks.oracle import OWN_DEVICE, Oracle


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
        encoder = self.link.encoder
        assert isinstance(encoder, AskedEncoder)
        return Inferred(answers=encoder.answer(seen.tokens, self.link.policy, questions, answers))
