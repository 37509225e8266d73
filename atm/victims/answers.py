"""What a victim ought to answer, and whether it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from atm.asked_encoder import AskedEncoder
from atm.encoder import Encoder
from atm.errors import AtmError
from atm.link import Link, Transmission
from atm.speech_encoder import SpeechEncoder
from privacy_metrics.metric import MetricUnavailable
from privacy_metrics.transcripts import plainly, word_errors


class Written(NamedTuple):
    """What was written down of some signals.

    Attributes:
        texts: one for each.
        wrong: the word error rate of each.
        right: ``[N]`` float, 1 where a text is what was said and nothing else.
    """

    texts: list[str]
    wrong: list[float]
    right: Tensor


class Answered(NamedTuple):
    """What a server answers to some signals.

    Attributes:
        numbers: ``[N]`` int64 of the answers; None for a victim without a task.
        written: the texts that these were read from; None where there are none.
    """

    numbers: Tensor | None
    written: Written | None = None


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

    def answered(self, link: Link, sent: Transmission) -> Answered:
        """The same, with what the server writes down where that is its task; no number without a task."""
        return Answered(None if self.truth is None else self.said(link, sent))

    def read(self, encoder: Encoder, rebuilt: Tensor) -> Written | None:
        """What such a victim writes down of signals that an attack has rebuilt; None where it writes nothing."""
        return None

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


@dataclass(frozen=True)
class TranscriptAnswers(Answers):
    """What it ought to write down of each sound: the name of its class.

    Attributes:
        classes: by their numbers.
    """

    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, truth: Tensor, name: str, classes: tuple[str, ...]) -> TranscriptAnswers:
        """Of labels ``[N]``.

        Raises:
            AtmError: there is one class only, one has a name without a word, or what counts errors is not installed.
        """
        if len(classes) == 1:
            raise AtmError(f"all sounds are of class {classes[0]!r}; --label-by says what is said in each")
        try:
            silent = [each for each in classes if not plainly(each)]
            word_errors(classes[:1], classes[:1]) if not silent else None
        except MetricUnavailable as error:
            raise AtmError(str(error)) from None
        if silent:
            raise AtmError(f"class {silent[0]!r} has no word that could be said; transcripts are compared with classes")
        return cls(truth, name, classes)

    def said(self, link: Link, sent: Transmission) -> Tensor:
        """``[N]`` int64: the class whose name was written down, -1 where it is none's."""
        return self._numbers(self._texts(link, sent))

    def answered(self, link: Link, sent: Transmission) -> Answered:
        """The same, with the texts that it was read from."""
        texts = self._texts(link, sent)
        return Answered(self._numbers(texts), self._written(texts))

    def read(self, encoder: Encoder, rebuilt: Tensor) -> Written:
        """What the unmerged victim writes down of spectrograms ``[N, 1, bins, frames]``."""
        assert isinstance(encoder, SpeechEncoder)
        return self._written(encoder.dictated(rebuilt))

    def _texts(self, link: Link, sent: Transmission) -> list[str]:
        assert isinstance(link.encoder, SpeechEncoder)
        return link.encoder.transcribe(sent.received.without_padding()[0], link.policy)

    def _numbers(self, texts: Sequence[str]) -> Tensor:
        """``[N]`` int64: the class of each text, -1 where it is no class's name."""
        known = {plainly(each): number for number, each in enumerate(self.classes)}
        return torch.tensor([known.get(plainly(text), -1) for text in texts])

    def _written(self, texts: list[str]) -> Written:
        """The texts beside the names of the classes."""
        assert self.truth is not None
        names = [self.classes[number] for number in self.truth.tolist()]
        return Written(texts, word_errors(texts, names), (self._numbers(texts) == self.truth).float())
