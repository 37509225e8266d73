"""The adversary's own question: a language model that answers the user's answers hers of the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from atm.threat import Observation
from attacks.base import Inferred, Inquiry


class Ask(Inquiry):
    """Hands the tokens that she sees to her own copy of the language model, with a question that the user did not ask.

    She takes the answer with the least loss among those that the data have.
    """

    name: ClassVar[str] = "ask"

    def ask(self, seen: Observation, questions: Sequence[str], answers: Sequence[str]) -> Inferred:
        """An answer to each question."""
        return Inferred(answers=self.encoder.answer(seen.tokens, self.policy, questions, answers))
