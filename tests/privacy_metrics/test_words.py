"""What was recovered of sentences, against plain counting."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from privacy_metrics.words import NO_WORD, exact, in_place, rouge_l

words = st.lists(st.integers(0, 5), min_size=1, max_size=8)
gappy = st.lists(st.integers(NO_WORD, 5), min_size=1, max_size=8)


def row(sentence: list[int], length: int = 8) -> torch.Tensor:
    return torch.tensor([sentence + [NO_WORD] * (length - len(sentence))])


def common_subsequence(a: list[int], b: list[int]) -> int:
    if not a or not b:
        return 0
    if a[0] == b[0]:
        return 1 + common_subsequence(a[1:], b[1:])
    return max(common_subsequence(a[1:], b), common_subsequence(a, b[1:]))


@given(gappy, words)
def test_rouge_is_the_f1_of_the_longest_common_subsequence(mine, truth):
    said = [word for word in mine if word != NO_WORD]
    common = common_subsequence(said, truth)
    expected = 2 * common / (len(said) + len(truth)) if common else 0.0
    assert float(rouge_l(row(mine), row(truth))) == pytest.approx(expected, abs=1e-5)


@given(gappy, words)
def test_words_in_place_are_counted(mine, truth):
    expected = sum(a == b for a, b in zip(mine, truth, strict=False)) / len(truth)
    assert float(in_place(row(mine), row(truth))) == pytest.approx(expected)


@given(gappy, words)
def test_exact_is_the_same_words_in_order(mine, truth):
    assert bool(exact(row(mine), row(truth))) == ([word for word in mine if word != NO_WORD] == truth)


@pytest.mark.parametrize("metric", [rouge_l, in_place, exact])
def test_a_copy_is_perfect_and_nothing_is_nothing(metric):
    truth = torch.tensor([[3, 1, 2, NO_WORD], [0, 0, 7, 7]])
    assert metric(truth, truth).tolist() == [1, 1]
    assert metric(torch.full_like(truth, NO_WORD), truth).tolist() == [0, 0]


@pytest.mark.parametrize("metric", [rouge_l, in_place, exact])
def test_what_is_no_sentence_is_refused(metric):
    truth = torch.tensor([[3, 1]])
    for mine in (truth.float(), truth[0], torch.tensor([[-2, 1]]), truth.expand(2, -1)):
        with pytest.raises(ValueError):
            metric(mine, truth)
    with pytest.raises(ValueError, match="no word"):
        metric(truth, torch.full_like(truth, NO_WORD))
    with pytest.raises(ValueError, match="no sentences"):
        metric(truth[:0], truth[:0])
