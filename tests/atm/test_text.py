"""Foreign text on its way to a terminal, a log or JSON."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atm.text import counted, examples, printable, told_of


@given(st.binary(max_size=40))
def test_any_file_name_can_be_printed_and_written(name: bytes) -> None:
    text = printable(os.fsdecode(name))
    assert text.isprintable() and json.loads(json.dumps(text).encode("utf-8")) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mRED\x1b]0;x\a", r"\x1b[31mRED\x1b]0;x\x07"),
        ("a\nb\r", r"a\nb\r"),
        ("left\u202eright", r"left\u202eright"),
        ("caf\udce9", r"caf\udce9"),
        ("Käse 木 🙂", "Käse 木 🙂"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_examples_are_part_of_a_sentence() -> None:
    assert examples(["a"]) == "a"
    assert examples(["a", "b", "c"]) == "a, b and c"
    assert examples(["a", "b", "c", "d\n", "e"]) == "a, b, c and 2 more"


@pytest.mark.parametrize(("number", "said"), [(0, "0 pictures"), (1, "1 picture"), (2, "2 pictures")])
def test_one_of_a_thing_is_told_in_the_singular(number, said):
    assert counted(number, "picture") == said


@pytest.mark.parametrize(
    ("number", "words", "said"),
    [
        (1, "lines are not UTF-8", "1 line is not UTF-8"),
        (1, "pictures have no question", "1 picture has no question"),
        (1, "questions cannot be printed", "1 question cannot be printed"),
        (0, "sounds were cut", "0 sounds were cut"),
        (2000, "sounds were cut", "2,000 sounds were cut"),
    ],
)
def test_what_is_said_of_several_things_is_said_of_one_in_the_singular(number, words, said):
    assert told_of(number, words) == said
