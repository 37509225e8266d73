"""How much of what was said a transcript has: words that are wrong, missing or too many (jiwer), of English.

Both sides are written alike first, as Whisper's authors do (Radford et al. 2022, appendix C): lower case, no marks,
numbers as digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from privacy_metrics.extras import extra
from privacy_metrics.metric import MetricUnavailable

MISSING = f"word error rates need jiwer and transformers; {extra('audio')}"


@cache
def _normaliser() -> Any:
    try:
        from transformers.models.whisper.english_normalizer import EnglishTextNormalizer
    except ImportError:
        raise MetricUnavailable(MISSING) from None
    return EnglishTextNormalizer({})


def plainly(text: str) -> str:
    """A text as it is compared; empty where it has neither letters nor digits.

    Raises:
        MetricUnavailable: transformers is missing.

    Examples:
        >>> plainly("Twenty-one, please!")
        '21 please'
    """
    found = str(_normaliser()(text)).strip()
    return found if any(letter.isalnum() for letter in found) else ""


def word_errors(said: Sequence[str], truth: Sequence[str]) -> list[float]:
    """The word error rate of each transcript: words that are wrong, missing or too many, of those that were said.

    Args:
        said: transcripts.
        truth: what was said in each, a word at least.

    Returns:
        Of each 0 where all is right; 1 where nothing is heard; more where more is heard than was said.

    Raises:
        MetricUnavailable: jiwer or transformers is missing.
        ValueError: different numbers of them, or nothing was said.

    Examples:
        >>> word_errors(["Seven.", "", "one nine"], ["7", "two", "nine"])
        [0.0, 1.0, 1.0]
    """
    try:
        import jiwer
    except ImportError:
        raise MetricUnavailable(MISSING) from None
    rates = []
    for mine, right in zip(said, truth, strict=True):
        if not plainly(right):
            raise ValueError(f"{right!r} is no word")
        rates.append(float(jiwer.wer(plainly(right), plainly(mine))))
    return rates
