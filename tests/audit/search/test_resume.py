"""A search goes on only with what it began with."""

from __future__ import annotations

import pytest

from atm.errors import AtmError
from audit.search.run import reserve
from tests.audit.search.toy import CONFIG

MADE_WITH = {key: {"digest": "1"} for key in ("victim", "codec", "data", "versions")}


def begin(folder, resume=False, force=False, **changes):
    with reserve(folder, CONFIG, resume, force) as store:
        store.begin({"config": CONFIG.plain(), "made_with": MADE_WITH | changes})


@pytest.mark.parametrize("key", ["victim", "codec", "data"])
def test_other_weights_or_pictures_of_the_same_name_are_refused(tmp_path, key):
    begin(tmp_path / "s")
    before = (tmp_path / "s/search.json").read_bytes()
    with pytest.raises(AtmError, match=rf"made_with\.{key}\.digest is no longer"):
        begin(tmp_path / "s", resume=True, **{key: {"digest": "2"}})
    assert (tmp_path / "s/search.json").read_bytes() == before
    begin(tmp_path / "s", force=True, **{key: {"digest": "2"}})


def test_the_same_weights_go_on_also_with_another_version(tmp_path):
    begin(tmp_path / "s")
    begin(tmp_path / "s", resume=True, versions={"torch": "0"})
