"""Stores of runs: no kill and no damage changes a number in silence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from atm.errors import AtmError, StorageError
from atm.store import RunStore, StoredRun, settings_of
from tests.atm.store.faults import Killed, failing, full

CONFIG = {"seed": 0, "policies": ["a", "b"], "channel": None}
ABOUT = {"config": CONFIG, "victim": {"digest": "1", "width": 8}, "policies": [{"name": "a", "thresholds": [1.0, 0.5]}]}
COLUMNS = {"policy": str, "value": float}


def work(folder: Path) -> None:
    """Something like a run: goes on with what is there, and does what is not done yet."""
    there = (folder / "run.json").exists()
    with RunStore(folder, "attack", CONFIG, resume=there) as store:
        store.begin(ABOUT)
        store.write_folder(["images", "original"], {"0.png": b"zero", "1.png": b"one"})
        done = {record["n"] for record in store.records("steps.jsonl")}
        for n in range(3):
            if n in done:
                continue
            store.write_folder(["images", "a", str(n)], {"0.png": b"zero", "1.png": b"one"})
            if n not in set(store.table("scores.csv", COLUMNS).value):
                store.append_rows("scores.csv", pd.DataFrame({"policy": ["ä,\nb", ""], "value": [n, 0.1 + 0.2]}))
            store.append("steps.jsonl", {"n": n, "of": "x\u2028y\udc80"})
        store.update(progress="half")
        store.update(progress="whole")


def content(folder: Path) -> dict[str, bytes]:
    """Everything that a user sees."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name != "checksums.jsonl"}


def read(folder: Path) -> tuple[list[str], dict]:
    """All that is finished by a reader's account, and what was noted on the way."""
    stored = StoredRun(folder, "attack")
    table = stored.table("scores.csv", COLUMNS)
    pictures = [stored.read_bytes("images", "original", f"{i}.png") for i in range(2)]
    found = {
        "about": stored.about,
        "rows": table.to_csv(),
        "steps": stored.records("steps.jsonl"),
        "pictures": pictures,
    }
    return stored.notes, found


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("store") / "run"
    work(folder)
    return folder


def test_what_is_written_is_what_is_read(whole):
    notes, found = read(whole)
    assert not notes and found["about"]["progress"] == "whole" and found["pictures"] == [b"zero", b"one"]
    assert found["steps"] == [{"n": n, "of": "x\u2028y\udc80"} for n in range(3)]
    table = StoredRun(whole, "attack").table("scores.csv", COLUMNS)
    assert table.value.tolist() == [0, 0.1 + 0.2, 1, 0.1 + 0.2, 2, 0.1 + 0.2] and table.policy[0] == "ä,\nb"
    assert set(content(whole)) == {"run.json", "scores.csv", "steps.jsonl"} | {
        f"images/{name}/{i}.png" for name in ("original", "a/0", "a/1", "a/2") for i in range(2)
    }, "no lock, nothing half-written"


def test_a_kill_at_every_single_call_changes_nothing(whole, tmp_path):
    with failing() as calls:
        work(tmp_path / "counted")
    assert calls.count > 80
    for at in range(1, calls.count + 1):
        folder = tmp_path / f"killed-{at}"
        with failing(at), pytest.raises(Killed):
            work(folder)
        if (folder / "run.json").exists():
            _, before = read(folder)  # whatever is there can be read
            assert before["steps"] == read(whole)[1]["steps"][: len(before["steps"])]
        work(folder)
        assert content(folder) == content(whole), at


@settings(max_examples=60)
@given(moments=st.lists(st.integers(1, 40), min_size=2, max_size=6))
def test_kills_again_and_again_change_nothing(whole, tmp_path_factory, moments):
    folder = tmp_path_factory.mktemp("again") / "run"
    for at in moments:
        with failing(at):
            try:
                work(folder)
            except Killed:
                continue
            break
    work(folder)
    assert content(folder) == content(whole)


def test_a_full_disk_at_every_single_write_is_one_error_and_loses_nothing(whole, tmp_path):
    with failing(only=("write",)) as calls:
        work(tmp_path / "counted")
    for at in range(1, calls.count + 1):
        folder = tmp_path / f"full-{at}"
        with failing(at, full(), only=("write",)), pytest.raises(StorageError, match="No space left on device"):
            work(folder)
        work(folder)
        assert content(folder) == content(whole)


def damaged(text: bytes, where: float, how: str) -> bytes:
    at = int(where * (len(text) - 1))
    lines = text.split(b"\n")
    line = text[:at].count(b"\n")
    if how == "flip":
        return text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]
    if how == "cut":
        return text[:at]
    if how == "double":
        return b"\n".join([*lines[: line + 1], *lines[line:]])
    if how == "drop":
        return b"\n".join([*lines[:line], *lines[line + 1 :]])
    return b"\n".join([*lines[:line], b"garbage", *lines[line:]])


FILES = ("run.json", "scores.csv", "steps.jsonl", "checksums.jsonl", "images/original/1.png")


@settings(max_examples=300)
@example(name="checksums.jsonl", where=0.125, how="drop")  # what finished a picture
@example(name="checksums.jsonl", where=0.125, how="double")
@given(
    name=st.sampled_from(FILES),
    where=st.floats(0, 1),
    how=st.sampled_from(["flip", "cut", "double", "drop", "garbage"]),
)
def test_no_damage_goes_unnoticed(whole, tmp_path_factory, name, where, how):
    folder = shutil.copytree(whole, tmp_path_factory.mktemp("damaged") / "run")
    before = (folder / name).read_bytes()
    (folder / name).write_bytes(damaged(before, where, how))
    if (folder / name).read_bytes() == before:
        return
    try:
        notes, found = read(folder)
    except AtmError as error:
        # Without an entry of the journal it is the file of that entry that seems wrong.
        assert name == "checksums.jsonl" or name in str(error).replace(str(folder), "")
        assert "\n" not in str(error)
        return
    expected = read(whole)[1]
    if name.endswith(".png"):
        assert found == {**expected, "pictures": [b"zero", None]}, "an empty picture is a missing one"
    elif name == "checksums.jsonl":
        assert found == expected or notes, "what is no longer known to be finished is left out, and named"
    else:
        assert found == expected and any(name in note for note in notes), "what was added is left out, and named"


def test_damage_is_named_with_its_line(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "run")
    path = folder / "scores.csv"
    text = path.read_text()
    rows = text.splitlines(keepends=True)
    cases = [
        (text.replace("2.0", "2.5"), "scores.csv, line 9 is damaged"),
        ("".join([*rows[:2], "garbage\n", *rows[2:]]), "scores.csv, line 3 is damaged"),
        ("".join([*rows, *rows]), ""),
        (text[:-5], "scores.csv ends before line 10 of 10"),
        ("", "scores.csv is missing or empty"),
    ]
    for damage, said in cases:
        path.write_text(damage)
        if said:
            with pytest.raises(AtmError, match=said):
                read(folder)
            with pytest.raises(AtmError, match=said):
                RunStore(folder, "attack", CONFIG, resume=True)
        else:
            assert read(folder)[1] == read(whole)[1] and "behind line 10" in read(folder)[0][0]
            RunStore(folder, "attack", CONFIG, resume=True).close()
            assert path.read_text() == text, "resuming removes it"
    RunStore(folder, "attack", CONFIG, force=True).close()


def test_reading_what_is_being_written_sees_a_part_of_it(whole, tmp_path):
    with RunStore(tmp_path / "run", "attack", CONFIG) as store:
        store.begin(ABOUT)
        for n in range(5):
            assert len(StoredRun(store.path, "attack").records("steps.jsonl")) == n
            store.append("steps.jsonl", {"n": n})
            store.update(progress=n)
            assert StoredRun(store.path, "attack").about["progress"] == n


def test_one_reader_sees_what_was_written_since_and_that_it_was_damaged(tmp_path):
    with RunStore(tmp_path / "run", "attack", CONFIG) as store:
        store.begin(ABOUT)
        reader = StoredRun(tmp_path / "run", "attack")
        for n in range(3):
            assert len(reader.records("steps.jsonl")) == n and reader.read_bytes("images", f"{n}.png") is None
            store.append("steps.jsonl", {"n": n})
            store.write_folder(["images"], {f"{n}.png": b"picture"})
            assert reader.read_bytes("images", f"{n}.png") == b"picture"
    path = tmp_path / "run" / "checksums.jsonl"
    path.write_bytes(path.read_bytes().replace(b"steps", b"stops"))
    with pytest.raises(AtmError, match=r"checksums\.jsonl, line"):
        reader.records("steps.jsonl")


def test_a_replaced_run_is_there_until_the_new_one_begins_and_gone_then(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "run")
    (folder / "mine.txt").write_text("mine")
    with RunStore(folder, "attack", {"seed": 1}, force=True) as store:
        assert store.records("steps.jsonl") == [] and read(folder)[1] == read(whole)[1]
        store.begin({**ABOUT, "config": {"seed": 1}})
        assert set(content(folder)) == {"run.json", ".lock", "mine.txt"}


def test_a_kill_while_a_run_is_replaced_leaves_something_to_replace(whole, tmp_path):
    def replace(folder):
        with RunStore(folder, "attack", CONFIG, force=True) as store:
            store.begin(ABOUT)

    with failing() as calls:
        replace(shutil.copytree(whole, tmp_path / "counted"))
    for at in range(1, calls.count + 1):
        folder = shutil.copytree(whole, tmp_path / str(at))
        with failing(at), pytest.raises(Killed):
            replace(folder)
        replace(folder)
        work(folder)
        assert content(folder) == content(whole)


def test_only_this_format_is_read(tmp_path):
    (tmp_path / "run.json").write_text('{"format": 2, "config": {}}')
    with pytest.raises(AtmError, match="is not of format 3"):
        StoredRun(tmp_path, "attack")
    for text, said in (
        ("{", "damaged"),
        ("[" * 5000, "damaged"),
        ("7", "format"),
        ('{"format": 3}', "checksums.jsonl"),
    ):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(AtmError, match=said):
            StoredRun(tmp_path, "attack")
    assert settings_of(tmp_path, "attack") == {}


def test_the_wrong_kind_of_folder_is_called_by_its_name(tmp_path):
    with RunStore(tmp_path / "s", "sweep", {}) as store:
        store.begin({"config": {}})
    with pytest.raises(AtmError, match="no run folder: it holds a sweep"):
        StoredRun(tmp_path / "s", "attack")
    for more in ({}, {"force": True}, {"resume": True}):
        with pytest.raises(AtmError, match="holds a sweep, which is no run"):
            RunStore(tmp_path / "s", "attack", {}, **more)


def test_a_record_that_is_none_is_named(tmp_path):
    with RunStore(tmp_path / "s", "attack", {}) as store:
        store.begin({"config": {}})
        store._extend("steps.jsonl", json.dumps([1]).encode() + b"\n")
        with pytest.raises(AtmError, match=r"steps\.jsonl, line 1 holds no record"):
            store.records("steps.jsonl")
