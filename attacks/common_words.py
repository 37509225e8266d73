"""A blind baseline: the words that most often stand at each place, whatever was sent."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from atm.threat import Observation
from attacks.base import Attack, held_out, require
from attacks.oracle import Oracle
from privacy_metrics.words import NO_WORD, rouge_l

MOST, JUDGES = 20_000, 64  # of her sentences whose words are counted, and held-out ones that lengths are chosen by


class CommonWords(Attack):
    """Answers every observation with the same sentence: at each place the word that stands there most often.

    It ends where it is the most like held-out sentences; also tried are the commonest words in the order of how common
    they are, of which the order alone may be right.
    """

    name: ClassVar[str] = "common_words"
    signals: ClassVar[tuple[str, ...]] = ("text",)
    blind: ClassVar[bool] = True

    def fit(self, oracle: Oracle) -> None:
        """Count the words."""
        require(self, oracle.threat)
        train, held = held_out(len(oracle.images))
        own, judges = oracle.images[train[:MOST]].cpu(), oracle.images[held[:JUDGES]].cpu()
        self.device, places = oracle.device, own.shape[1]
        common = own[own != NO_WORD].bincount().argsort(descending=True, stable=True)[:places]
        by_place = [column[column != NO_WORD] for column in own.T]
        here = [int(column.bincount().argmax()) if len(column) else int(common[0]) for column in by_place]
        tried = [torch.tensor(here), torch.cat([common, common[:1].expand(places - len(common))])]
        most = int((own != NO_WORD).sum(1).max())
        answers = [
            answer.where(torch.arange(places) < length, NO_WORD) for answer in tried for length in range(1, most + 1)
        ]
        scores = [float(rouge_l(answer.expand(len(judges), -1), judges).mean()) for answer in answers]
        self.answer = answers[scores.index(max(scores))]

    def reconstruct(self, seen: Observation) -> Tensor:
        """The same sentence for every one."""
        return self.answer.expand(len(seen), -1).to(self.device)
