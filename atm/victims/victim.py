"""A model under attack, and what it is right about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from atm.data import Samples
from atm.data.questions import QuestionSet
from atm.encoder import Encoder
from atm.errors import AtmError
from atm.finite import check_finite
from atm.policy import MergePolicy
from atm.progress import track
from atm.victims.answers import Answers, QuestionAnswers, TranscriptAnswers
from atm.victims.classes import find_logits

Task = Literal["classification", "questions", "transcript"]

ACCURACY = "accuracy"
IN_ORDER = "accuracy, if the classes are in the data's order"
AGREEMENT = "agreement with the unmerged victim"


@dataclass(frozen=True)
class Victim:
    """A model under attack.

    Attributes:
        name: what the user called it.
        encoder: the model, ready to run, in evaluation mode and frozen.
        classes: class names in the order of the logits; empty where they are not known.
        digest: SHA-256 of the weights.
        description: what is known of it: architecture, where the weights come from and what was done to them.
        task: what it answers; None for a backbone whose outputs are features or an embedding and no answers.
        body: the digest that it had before another head was put on it, which left its tokens as they were.
    """

    name: str
    encoder: Encoder
    classes: tuple[str, ...]
    digest: str
    description: dict[str, Any] = field(default_factory=dict)
    task: Task | None = "classification"
    body: str = ""

    def answers(self, images: Samples) -> Answers:
        """What the victim ought to answer about labelled pictures.

        Where the classes of the pictures are the victim's, or some of them, that is their labels, and being right is to
        give that class the highest of *all* logits. Where the victim's classes have no names and the pictures have as
        many, they are taken to be in the same order, as training scripts make it, and ``name`` says so. Else the answer
        is what the unmerged victim says. A victim that is asked ought to give the answer that the data have; one that
        writes down what is said, the name of the class.
        """
        if self.task is None:
            return Answers(None, None)
        if self.task == "questions":
            assert isinstance(images, QuestionSet)
            asked = tuple(each[0].text for each in images.asked)
            return QuestionAnswers(images.labels, ACCURACY, asked, images.classes)
        if self.task == "transcript":
            return TranscriptAnswers.of(images.labels, ACCURACY, images.classes)
        if self.classes:
            found = find_logits(images.classes, self.classes)
        elif len(images.classes) == self._outputs(images):
            found = list(range(len(images.classes)))
        else:
            found = None
        if found is not None:
            return Answers(torch.tensor(found)[images.labels], ACCURACY if self.classes else IN_ORDER)
        return Answers(self.logits(images).argmax(-1), AGREEMENT)

    @torch.no_grad()
    def logits(self, images: Samples, batch: int = 64) -> Tensor:
        """``[N, classes]`` of the unmerged victim, on the CPU.

        Raises:
            AtmError: they hold NaN or infinities.
        """
        policy = MergePolicy.preset("none", self.encoder.depth)
        parts = [
            self.encoder.finish(self.encoder(images.subset(rows).inputs.to(self.encoder.device), policy).tokens, policy)
            for rows in track(torch.arange(len(images)).split(batch), "asking the victim")
        ]
        logits = torch.cat(parts).cpu()
        check_finite(f"logits of victim {self.name!r}", logits)
        return logits

    def need_task(self, what: str) -> None:
        """Raise `AtmError` if the victim has no task, in which ``what`` would mean nothing."""
        if self.task is None:
            raise AtmError(
                f"victim {self.name!r} has no task, so there is no accuracy for {what}; give it one with --head"
            )

    def need_logits(self, what: str) -> None:
        """Raise `AtmError` if the victim has no task, or one whose answers are no logits of classes."""
        self.need_task(what)
        if self.task == "questions":
            raise AtmError(f"victim {self.name!r} answers questions, and {what} asks none; it needs logits of classes")
        if self.task == "transcript":
            raise AtmError(f"victim {self.name!r} writes down what is said, and {what} needs logits of classes")

    def _outputs(self, images: Samples) -> int:
        return self.logits(images.subset(range(1))).shape[1]
