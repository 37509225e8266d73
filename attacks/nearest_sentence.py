"""Retrieval: the auxiliary sentence whose tokens are the most similar."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from atm.threat import Observation
from attacks.identify import features
from attacks.nearest import Nearest


class NearestSentence(Nearest):
    """Answers with the auxiliary sentence that is nearest in feature space (cosine of what all its tokens are like)."""

    name: ClassVar[str] = "nearest_sentence"
    signals: ClassVar[tuple[str, ...]] = ("text",)

    def describe(self, seen: Observation) -> Tensor:
        """``[B, f]``: the class token, mean and deviation of all tokens, and their number."""
        return features(seen)
