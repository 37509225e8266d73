"""A search goes on only with what it began with."""

from __future__ import annotations

import pytest

from atm.errors import AtmError
from audit.search.run import open_folder
from tests.audit.search.toy import CONFIG

MADE_WITH = {key: {"digest": "1"} for key in ("victim", "codec", "data", "versions")}


@pytest.mark.parametrize("key", ["victim", "codec", "data"])
def test_other_weights_or_pictures_of_the_same_name_are_refused(tmp_path, key):
    folder = open_folder(tmp_path / "s", CONFIG, False, False, MADE_WITH)
    before = (folder / "search.json").read_bytes()
    with pytest.raises(AtmError, match=f"another {key} of that name"):
        open_folder(folder, CONFIG, True, False, {**MADE_WITH, key: {"digest": "2"}})
    assert (folder / "search.json").read_bytes() == before
    open_folder(folder, CONFIG, False, True, {**MADE_WITH, key: {"digest": "2"}})


def test_the_same_weights_go_on_also_with_another_version(tmp_path):
    folder = open_folder(tmp_path / "s", CONFIG, False, False, MADE_WITH)
    assert open_folder(folder, CONFIG, True, False, {**MADE_WITH, "versions": {"torch": "0"}}) == folder
