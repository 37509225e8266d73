"""Folders of runs, sweeps, comparisons and searches: damaged, or signed anew with settings that say something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atm.store import RunStore, StoredRun
from tests.fuzz import world
from tests.fuzz.amount import share
from tests.fuzz.commands import check, state
from tests.fuzz.damage import WHOLE, damaged

ATTACK, COMPARE, SWEEP, SEARCH = (world.ACCEPTED[name] for name in ("attack", "compare", "sweep", "search"))
READERS = {
    "run": (
        *[["report", "run", *more] for more in ([], ["--json"], ["--against", "run"])],
        ["attack", "run/run.json", "--out", "run", "--resume"],
        [*ATTACK, "--replay", "run"],
        ["attack", "run/run.json", "--out", "out"],
        [*ATTACK[:-1], "run"],
        [*ATTACK[:-1], "run", "--resume"],
    ),
    "swept": (
        ["sweep", "swept/sweep.json", "--out", "swept", "--resume"],
        ["report", "swept"],
        ["pick", "swept", "--minimize", "leakage"],
    ),
    "compared": (["compare", "compared/compare.json", "--out", "compared", "--resume"], [*COMPARE[:-1], "compared"]),
    "searched": (
        ["pick", "searched", "--minimize", "leakage"],
        ["pick", "searched", "--maximize", "accuracy", "--at-most", "tokens=16"],
        ["search", "searched/search.json", "--out", "searched", "--resume"],
    ),
}
SETTINGS = {"run": "run.json", "swept": "sweep.json", "compared": "compare.json", "searched": "search.json"}
KINDS = {"run": "attack", "swept": "sweep", "compared": "compare", "searched": "search"}
# A command that goes on takes what was torn off a log; the others write their page or their policies.
WRITES = r"\w+/(report|sweep|compare)\.html$|\w+/card\.json$|searched/policies|\w+/\w+\.(csv|svg)$|\w+/\w+\.jsonl$"
JUNK: tuple[Any, ...] = (
    None,
    True,
    -1,
    3,
    0.5,
    10**30,
    "text",
    "",
    "\x1b[31m",
    "../..",
    [],
    {},
    [None],
    [[1]],
    {"a": 1},
    ["x"],
)


@st.composite
def readings(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A folder, and a command that reads it."""
    folder = draw(st.sampled_from(list(READERS)))
    return folder, list(draw(st.sampled_from(READERS[folder])))


@share(0.08)
@given(reading=readings(), which=st.integers(0, 10**6), how=damaged())
def test_a_damaged_folder(copies, reading, which, how):
    name, words = reading
    with copies(name) as folder:
        files = sorted(path for path in (folder / name).rglob("*") if path.is_file() and "images" not in path.parts)
        how(files[which % len(files)])
        check(words, folder, writes=WRITES)


@pytest.mark.parametrize("how", WHOLE, ids=lambda how: how.__name__)
@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_are_something_else_are_refused(copies, name, how):
    with copies(name) as folder:
        how(folder / name / SETTINGS[name])
        check(READERS[name][0], folder, must_refuse=True)


def _paths(content: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to all values of a document."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [way, *(found for key, value in inner for found in _paths(value, (*way, key)))]


@share(0.08)
@given(reading=readings(), which=st.integers(0, 10**6), value=st.one_of(st.sampled_from(JUNK), st.just("less")))
def test_a_folder_that_was_signed_anew(copies, reading, which, value):
    """Anybody can write checksums: what settings say is checked as well as that they are what was written."""
    name, words = reading
    with copies(name) as folder:
        about = json.loads((folder / name / SETTINGS[name]).read_text())
        way = (found := [way for way in _paths(about) if way])[which % len(found)]
        inner = about
        for step in way[:-1]:
            inner = inner[step]
        if value == "less":
            del inner[way[-1]]
        else:
            inner[way[-1]] = value
        _sign(folder / name, KINDS[name], about)
        check(words, folder, writes=WRITES)


def _sign(folder: Path, kind: str, about: dict[str, Any]) -> None:
    """Replace the settings, with a checksum that is right."""
    config = StoredRun(folder, kind).about["config"]
    with RunStore(folder, kind, config, resume=True) as store:
        store.write_json(store.kind.settings, about)


def test_reading_changes_nothing(copies):
    with copies(*READERS) as folder:
        before = state(folder)
        for words in (
            ["pick", "run", "--minimize", "leakage"],
            ["report", "searched", "--against", "run"],
            ["report", "run", "--against", "swept"],
        ):
            check(words, folder, must_refuse=True)
        assert state(folder) == before
