"""What a victim ought to answer, and whether it does."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from atm.asked_encoder import AskedEncoder
from atm.link import Link, Transmission


@dataclass(frozen=True)
class Answers:
    """What a victim ought to answer about some pictures.

    Attributes:
        truth: ``[N]`` int64, the number of the answer; None for a victim without a task.
        name: of the fraction that is right: accuracy, or agreement with the unmerged victim; None without a task.
    """

    truth: Tensor | None
    name: str | None

    def said(self, link: Link, sent: Transmission) -> Tensor:
        """``[N]`` int64, what the server answers to the same pictures, sent over a link: the highest logit."""
        return sent.logits.argmax(-1).cpu()

    def correct(self, link: Link, sent: Transmission) -> Tensor:
        """``[N]`` float64: 1 where that is right and 0 where not; NaN without a task."""
        if self.truth is None:
            return torch.full((len(sent),), torch.nan, dtype=torch.float64)
        return (self.said(link, sent) == self.truth).double()


@dataclass(frozen=True)
class QuestionAnswers(Answers):
    """What it ought to answer to a question about each picture: of the data's answers the one with the least loss.

    Attributes:
        questions: one about each picture.
        answers: all that the data have, by their numbers.
    """

    questions: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()

    def said(self, link: Link, sent: Transmission) -> Tensor:
        """``[N]`` int64: the answer with the least loss."""
        assert isinstance(link.encoder, AskedEncoder)
        tokens = sent.received.without_padding()[0]
        return link.encoder.answer(tokens, link.policy, self.questions, self.answers)
