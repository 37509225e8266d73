"""How much of each sentence was recovered: in place, in order, and whole.

Sentences are ``[B, L]`` whole numbers, one for each word, `NO_WORD` where a sentence has none: behind its end, and in
an estimate wherever nothing is believed to be.
"""

from __future__ import annotations

import torch
from torch import Tensor

from privacy_metrics.metric import Metric

NO_WORD = -1


def _check(reconstruction: Tensor, original: Tensor) -> tuple[Tensor, Tensor]:
    for name, words in (("reconstructions", reconstruction), ("originals", original)):
        if words.ndim != 2 or words.is_floating_point() or words.dtype == torch.bool:
            raise ValueError(f"{name} must be whole numbers [B, L], got {words.dtype} {list(words.shape)}")
        if words.numel() and int(words.min()) < NO_WORD:
            raise ValueError(f"{name} hold {int(words.min())}, expected numbers of words or {NO_WORD}")
    if len(reconstruction) != len(original):
        raise ValueError(f"there are {len(reconstruction)} reconstructions of {len(original)} originals")
    if len(original) == 0:
        raise ValueError("there are no sentences, expected at least one")
    if not bool((original != NO_WORD).any(1).all()):
        raise ValueError("an original has no word")
    return reconstruction.cpu().long(), original.cpu().long()


def in_place(reconstruction: Tensor, original: Tensor) -> Tensor:
    """The fraction of each original's words that the reconstruction has at the same place.

    Args:
        reconstruction: ``[B, L]`` of words.
        original: the same shape, each with a word at least.

    Returns:
        ``[B]`` float32 in [0, 1].

    Raises:
        ValueError: shapes, types or numbers are others.

    Examples:
        >>> in_place(torch.tensor([[5, 7, 7, -1]]), torch.tensor([[5, 6, 7, 8]]))
        tensor([0.5000])
    """
    reconstruction, original = _check(reconstruction, original)
    if reconstruction.shape != original.shape:
        raise ValueError(f"shapes differ: {list(reconstruction.shape)} and {list(original.shape)}")
    there = original != NO_WORD
    return ((reconstruction == original) & there).sum(1) / there.sum(1)


def rouge_l(reconstruction: Tensor, original: Tensor) -> Tensor:
    """ROUGE-L of each reconstruction (Lin 2004), the F1 of the longest common subsequence, as torchmetrics computes it.

    Words count in their order and not at their place: a sentence that is moved by a word is still told.

    Args:
        reconstruction: ``[B, L]`` of words.
        original: ``[B, any]``, each with a word at least.

    Returns:
        ``[B]`` float32 in [0, 1]; 1 for identical sentences.

    Raises:
        ValueError: shapes, types or numbers are others.

    Examples:
        >>> rouge_l(torch.tensor([[5, 7, 7, -1]]), torch.tensor([[5, 6, 7, 8]])).round(decimals=3)
        tensor([0.5710])
    """
    from torchmetrics.functional.text.rouge import rouge_score  # loading it takes a second

    reconstruction, original = _check(reconstruction, original)
    scores = []
    for mine, truth in zip(_written(reconstruction), _written(original), strict=True):
        found = rouge_score(mine, truth, rouge_keys="rougeL", normalizer=str, tokenizer=str.split)
        scores.append(float(found["rougeL_fmeasure"]))
    return torch.tensor(scores)


def exact(reconstruction: Tensor, original: Tensor) -> Tensor:
    """Whether each reconstruction has the words of its original in their order, and no others.

    Args:
        reconstruction: ``[B, L]`` of words.
        original: ``[B, any]``, each with a word at least.

    Returns:
        ``[B]`` float32, 0 or 1.

    Raises:
        ValueError: shapes, types or numbers are others.

    Examples:
        >>> exact(torch.tensor([[5, -1], [5, 6]]), torch.tensor([[5, -1], [5, -1]]))
        tensor([1., 0.])
    """
    reconstruction, original = _check(reconstruction, original)
    pairs = zip(_written(reconstruction), _written(original), strict=True)
    return torch.tensor([float(mine == truth) for mine, truth in pairs])


def _written(sentences: Tensor) -> list[str]:
    """Each sentence's numbers as text, without those of no word."""
    return [" ".join(str(word) for word in row if word != NO_WORD) for row in sentences.tolist()]


ROUGE_L = Metric("rouge_l", "ROUGE-L", "", True, rouge_l, signals=("text",))
IN_PLACE = Metric("in_place", "words in place", "", True, in_place, signals=("text",))
EXACT = Metric("exact", "exact sentences", "", True, exact, signals=("text",))
