"""Numbers as people write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.numbers import NO_NUMBER, p_value, plain


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.00169, 3, "0.00169"), (1.69, 3, "1.69"), (12345.6, 3, "12346"), (2080.0, 3, "2080"), (0.5, 3, "0.5"),
        (0.0, 3, "0"), (-0.0421, 2, "-0.042"), (1e-9, 3, "below 0.000001"), (-1e-9, 3, "above -0.000001"),
        (1e-6, 3, "0.000001"), (0.09996, 3, "0.1"), (100.0, 1, "100"), (None, 3, NO_NUMBER), (math.nan, 3, NO_NUMBER),
        (math.inf, 3, NO_NUMBER), (0.9004, 4, "0.9004"),
    ],
)  # fmt: skip
def test_as_many_digits_as_are_needed(value, digits, text):
    assert plain(value, digits) == text


@given(st.floats(1e-6, 1e12), st.integers(1, 6))
def test_no_power_of_ten_and_nearly_the_same_number(value, digits):
    text = plain(value, digits)
    assert "e" not in text and float(text) == pytest.approx(value, rel=0.51 * 10 ** (1 - digits))


def test_p_values():
    assert p_value(0.0421) == "0.042" and p_value(0.00099) == "< 0.001" and p_value(0.001) == "0.001"
