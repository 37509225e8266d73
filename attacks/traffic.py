"""Traffic analysis: what the number of tokens alone says about the label."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from atm.threat import Observation
from attacks.base import Inference, Inferred, held_out, require
from attacks.oracle import Oracle

WIDTHS = (0.5, 1.0, 2.0, 4.0, 8.0)  # of the kernel, in tokens


class Traffic(Inference):
    """Counts tokens and reads none: the label that is likeliest given how many were sent.

    Kernel densities of the count for each class times the share of the class; the width is chosen on held-out images.
    """

    name: ClassVar[str] = "traffic"
    signals: ClassVar[tuple[str, ...]] = ()
    needs_labels: ClassVar[bool] = True

    def fit(self, oracle: Oracle) -> None:
        """Count the tokens of the auxiliary images."""
        require(self, oracle.threat)
        self.labels = oracle.labels
        if self.labels is None:
            return
        self.counts = oracle.lengths
        train, validation = held_out(len(self.counts))
        truth = self.labels[validation]
        answers = {w: self._answer(self.counts[validation], train, w) for w in WIDTHS}
        self.width = max(WIDTHS, key=lambda w: int((answers[w] == truth).sum()))

    def infer(self, seen: Observation, candidates: Tensor) -> Inferred:
        """Labels; no statement about the candidates."""
        if self.labels is None:
            return Inferred()
        return Inferred(labels=self._answer(seen.tokens.lengths, torch.arange(len(self.counts)), self.width))

    def _answer(self, counts: Tensor, rows: Tensor, width: float) -> Tensor:
        assert self.labels is not None
        classes = torch.nn.functional.one_hot(self.labels, int(self.labels.max()) + 1).double()
        kernel = torch.exp(-((counts[:, None] - self.counts[rows]) / width).double().square() / 2)
        return (kernel @ classes[rows] + 1e-9 * classes[rows].mean(0)).argmax(-1)
