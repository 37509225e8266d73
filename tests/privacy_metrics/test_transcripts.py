"""Word error rates, against another library and by the definition."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("jiwer", reason="needs the extra audio (jiwer), which is missing")
pytest.importorskip("transformers", reason="needs the extra audio (transformers), which is missing")

from privacy_metrics.transcripts import plainly, word_errors

SENTENCES = st.lists(st.sampled_from(["red", "green", "blue", "dog"]), min_size=1, max_size=6).map(" ".join)


@settings(deadline=None)
@given(SENTENCES, st.one_of(st.just(""), SENTENCES))
def test_rates_are_those_of_another_library(truth, said):
    from torchmetrics.functional.text import word_error_rate

    (rate,) = word_errors([said], [truth])
    assert rate == pytest.approx(float(word_error_rate([said], [truth])))


@pytest.mark.parametrize(
    ("said", "truth", "rate"),
    [("Seven.", "7", 0.0), (" SEVEN!", "seven", 0.0), ("", "two", 1.0), ("one nine", "nine", 1.0),
     ("a red dog barks", "nine", 4.0), ("the red dog", "the green dog", 1 / 3)],
)  # fmt: skip
def test_marks_cases_and_numbers_are_written_alike(said, truth, rate):
    assert word_errors([said], [truth]) == [pytest.approx(rate)]


def test_what_has_no_word_cannot_be_missed():
    assert plainly("?! ...") == ""
    with pytest.raises(ValueError, match="is no word"):
        word_errors(["a"], ["..."])
    with pytest.raises(ValueError, match=r"shorter|longer"):
        word_errors(["a"], ["a", "b"])
