"""What the other inputs are mutations of is accepted, or every refusal would say nothing."""

from __future__ import annotations

import pytest

from tests.fuzz import world
from tests.fuzz.commands import ACCEPTED, check


@pytest.mark.parametrize("name", world.ACCEPTED)
def test_the_good_words_are_accepted(copies, name):
    with copies(*world.COPIED.get(name, ())) as folder:
        ended = check(list(world.ACCEPTED[name]), folder, writes=world.WRITES.get(name, ""))
        assert ended.code == ACCEPTED, ended.err
