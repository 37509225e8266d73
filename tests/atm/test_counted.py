"""Foreign text and numbers in lines that people read."""

from __future__ import annotations

import pytest

from atm.text import counted


@pytest.mark.parametrize(("number", "said"), [(0, "0 pictures"), (1, "1 picture"), (2, "2 pictures")])
def test_one_of_a_thing_is_told_in_the_singular(number, said):
    assert counted(number, "picture") == said
