"""What is asked for must be what was asked for, in name and in content."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atm.errors import AtmError
from atm.store import RunStore
from atm.store.same import PROVENANCE, difference

CONFIG = {"seed": 0, "policies": ["a.yaml", "b"], "snr": [1, 2], "channel": None, "evals": 4}
ABOUT = {
    "victim": {"name": "v", "digest": "a" * 64},
    "policies": [{"name": "a", "thresholds": [1.0, 0.5]}, {"name": "b", "thresholds": [0.5, 0.5]}],
    "threat": {"knows": ["weights"]},
    "made_with": {"codec": {"digest": "c"}, "versions": {"torch": "1"}},
    "versions": {"torch": "1"},
    "created": "today",
}
LOOSE = {"free": ("evals",), "growing": ("snr", "policies")}


def begin(folder, config=CONFIG, about=ABOUT, **options):
    with RunStore(folder, "sweep", config, **options) as store:
        store.begin({"config": config, **about})
        return store.about


def leaves(value: Any, path: tuple = ()) -> Iterator[tuple]:
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(part, (*path, key))
    else:
        yield path


def edited(value: dict, path: tuple) -> dict:
    made = copy.deepcopy(value)
    part: Any = made
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = "other"
    return made


@pytest.mark.parametrize("path", leaves(CONFIG), ids=str)
def test_every_field_of_what_was_asked_for_counts_and_is_named(tmp_path, path):
    begin(tmp_path / "s")
    with pytest.raises(AtmError, match=f"made with {path[0]} = .*give the same"):
        begin(tmp_path / "s", edited(CONFIG, path), resume=True)


@pytest.mark.parametrize("path", leaves(ABOUT), ids=str)
def test_every_field_of_what_names_stand_for_counts_and_is_named(tmp_path, path):
    before = begin(tmp_path / "s")
    if PROVENANCE & set(path):
        assert begin(tmp_path / "s", about=edited(ABOUT, path), resume=True) == before
        return
    name = r"policies\.(a|b)\." if path[0] == "policies" and path[2] == "thresholds" else rf"{path[0]}\."
    with pytest.raises(AtmError, match=rf"{name}.* is no longer what it was when this sweep began"):
        begin(tmp_path / "s", about=edited(ABOUT, path), resume=True)


def test_fields_that_are_there_on_one_side_only_count(tmp_path):
    begin(tmp_path / "s")
    with pytest.raises(AtmError, match="made with budget = None, not 3"):
        begin(tmp_path / "s", {**CONFIG, "budget": 3}, resume=True)
    with pytest.raises(AtmError, match="made with evals = 4, not None"):
        begin(tmp_path / "s", {key: value for key, value in CONFIG.items() if key != "evals"}, resume=True)
    with pytest.raises(AtmError, match="defence is no longer"):
        begin(tmp_path / "s", about={**ABOUT, "defence": "drop:0.5"}, resume=True)


def test_lists_may_grow_where_that_is_allowed_and_lose_or_change_nothing(tmp_path):
    begin(tmp_path / "s", **LOOSE)
    more = {**CONFIG, "snr": [0, 1, 2], "policies": ["a.yaml", "b", "c"], "evals": 9}
    third = {"name": "c", "thresholds": [0.1, 0.1]}
    found = begin(tmp_path / "s", more, {**ABOUT, "policies": [third, *ABOUT["policies"]]}, resume=True, **LOOSE)
    assert found["config"] == more and len(found["policies"]) == 3 and found["created"] == "today"
    with pytest.raises(AtmError, match=r"snr = \[0, 1, 2\], not \[0, 1\]; a list may grow and lose nothing"):
        begin(tmp_path / "s", {**more, "snr": [0, 1]}, resume=True, **LOOSE)
    mixed = [third, {"name": "a", "thresholds": [1.0, 0.4]}, ABOUT["policies"][1]]
    with pytest.raises(
        AtmError, match=r"policies\.a\.thresholds is no longer .*\[1\.0, 0\.5\] then, \[1\.0, 0\.4\] now"
    ):
        begin(tmp_path / "s", more, {**ABOUT, "policies": mixed}, resume=True, **LOOSE)
    with pytest.raises(AtmError, match="policies is no longer"):
        begin(tmp_path / "s", more, {**ABOUT, "policies": [third]}, resume=True, **LOOSE)


def test_resume_and_force_exclude_each_other(tmp_path):
    with pytest.raises(AtmError, match="give one of them"):
        begin(tmp_path / "s", resume=True, force=True)
    assert not (tmp_path / "s").exists()
    begin(tmp_path / "s")
    with pytest.raises(AtmError, match="already holds a sweep; use --resume to go on with it or --force"):
        begin(tmp_path / "s")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(plain, plain)
def test_two_values_differ_somewhere_if_and_only_if_they_are_not_equal(one, other):
    assert difference(one, copy.deepcopy(one)) is None
    if one != other and not _missing_is_none(one, other):
        assert difference(one, other) is not None


def _missing_is_none(one: Any, other: Any) -> bool:
    """Whether two values are equal but for keys without a value, which say as much as no keys."""

    def bare(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: bare(part) for key, part in value.items() if part is not None}
        return [bare(part) for part in value] if isinstance(value, list) else value

    return bool(bare(one) == bare(other))
