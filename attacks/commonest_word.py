"""A blind baseline: the commonest word at every place, whatever was sent."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from atm.threat import Observation
from attacks.base import Attack, require
from attacks.oracle import Oracle
from privacy_metrics.words import NO_WORD


class CommonestWord(Attack):
    """Answers every observation with the commonest word, as often as her sentences have words on average.

    It is the yardstick of attacks that choose each word by itself, which come down to it where tokens tell nothing.
    """

    name: ClassVar[str] = "commonest_word"
    signals: ClassVar[tuple[str, ...]] = ("text",)
    blind: ClassVar[bool] = True

    def fit(self, oracle: Oracle) -> None:
        """Count the words."""
        require(self, oracle.threat)
        counts, total = torch.zeros(0, dtype=torch.long), 0
        for rows in oracle.images.batches():
            words = oracle.images[rows].cpu()
            more = words[words != NO_WORD].bincount(minlength=len(counts))
            counts, total = more + torch.nn.functional.pad(counts, (0, len(more) - len(counts))), total + len(rows)
        answer = oracle.signal.blank(1)[0]
        answer[: max(round(int(counts.sum()) / total), 1)] = int(counts.argmax())
        self.answer = answer.to(oracle.device)

    def reconstruct(self, seen: Observation) -> Tensor:
        """The same for every sentence."""
        return self.answer.expand(len(seen), -1)
