"""A blind baseline: any auxiliary sentence."""

from __future__ import annotations

from typing import ClassVar

from attacks.random_image import RandomImage


class RandomSentence(RandomImage):
    """Answers each observation with an auxiliary sentence drawn at random: what a real one reaches by chance."""

    name: ClassVar[str] = "random_sentence"
    signals: ClassVar[tuple[str, ...]] = ("text",)
