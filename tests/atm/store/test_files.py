"""Whole files: a kill at any moment leaves the old or the new one, and a full disk is one clear error."""

from __future__ import annotations

import subprocess

import pytest

from atm.errors import AtmError, StorageError
from atm.store import check_writable, files, inside, write, write_folder
from tests.atm.store.faults import Killed, failing, full


def test_a_kill_at_any_call_leaves_the_old_file_or_the_new_one(tmp_path):
    path, seen = tmp_path / "file", set()
    with failing() as calls:
        write(path, "old")
    for at in range(1, calls.count + 1):
        write(path, "old")
        with failing(at), pytest.raises(Killed):
            write(path, "new")
        seen.add(path.read_text())
    assert seen == {"old", "new"}


def test_a_file_is_on_disk_before_its_name_is_and_its_name_before_the_call_returns(tmp_path):
    with failing() as calls:
        write(tmp_path / "file", "x")
        files.append(tmp_path / "log", 0, b"x")
        files.append(tmp_path / "log", 1, b"y")
    assert calls.names == [
        "write", "fsync", "replace", "fsync",
        "ftruncate", "write", "fsync", "fsync",
        "ftruncate", "write", "fsync",
    ]  # fmt: skip
    with failing() as calls:
        write_folder(tmp_path / "folder", {"a": b"x", "b": b"y"})
    assert calls.names == ["makedirs", "write", "fsync", "write", "fsync", "fsync", "replace", "fsync"]


def test_a_kill_at_any_call_leaves_the_old_folder_none_or_the_new_one(tmp_path):
    folder, seen = tmp_path / "folder", set()
    old, new = {"a": b"old", "b": b"old"}, {"a": b"new", "b": b"new"}
    write_folder(folder, old)
    with failing() as calls:
        write_folder(folder, old)
    for at in range(1, calls.count + 1):
        write_folder(folder, old)
        with failing(at), pytest.raises(Killed):
            write_folder(folder, new)
        seen.add(tuple(path.read_text() for path in sorted(folder.glob("*"))))
    assert seen == {("old", "old"), (), ("new", "new")}


def test_what_the_system_refuses_is_one_line_that_names_the_file_and_leaves_the_old_one(tmp_path):
    path = tmp_path / "file"
    write(path, "old")
    with (
        failing(1, full(), only=("write",)),
        pytest.raises(StorageError, match="file cannot be written: No space left"),
    ):
        write(path, "new")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file"]
    (tmp_path / "page.html").mkdir()
    with pytest.raises(StorageError, match=r"page\.html cannot be written: Is a directory"):
        write(tmp_path / "page.html", "x")
    with pytest.raises(StorageError, match="No such file"):
        write(tmp_path / "gone" / "file", "x")


def test_appending_cuts_off_what_was_torn_and_never_fills_with_zeros(tmp_path):
    path = tmp_path / "log"
    files.append(path, 0, b"first\n")
    with open(path, "ab") as file:
        file.write(b"torn")
    files.append(path, 6, b"second\n")
    assert path.read_bytes() == b"first\nsecond\n"
    with pytest.raises(StorageError, match="cut off by someone else"):
        files.append(path, 99, b"third\n")
    assert path.read_bytes() == b"first\nsecond\n"


@pytest.fixture
def disk(tmp_path):
    """``disk(options)``: a file system of 1 MB of its own, where this user may mount one."""
    mounted = []

    def mount(options: str):
        folder = tmp_path / "disk"
        folder.mkdir(exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)
        if done.returncode:
            pytest.skip("needs the right to mount a file system")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(disk):
    folder = disk("size=1m")
    write(folder / "file", "old")
    with pytest.raises(StorageError, match="No space left on device"):
        write(folder / "file", b"x" * 2_000_000)
    assert (folder / "file").read_text() == "old" and [p.name for p in folder.iterdir()] == ["file"]


def test_a_disk_that_cannot_be_written_is_found_before_anything_slow(disk):
    folder = disk("ro")
    for there in (folder, folder / "not" / "there"):
        with pytest.raises(StorageError, match="Read-only file system"):
            check_writable(there)


def test_a_folder_that_can_be_written_is_left_as_it_was(tmp_path):
    check_writable(tmp_path / "not" / "there")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="Not a directory"):
        check_writable(tmp_path / "file")


@pytest.mark.parametrize("names", [("..",), (".",), ("",), ("a/b",), ("a\\b",), ("a\0b",), ("images", "..", "secret")])
def test_no_name_leads_out_of_a_folder(tmp_path, names):
    with pytest.raises(AtmError, match="cannot be the name"):
        inside(tmp_path, *names)


def test_no_link_is_followed_on_the_way_but_the_folder_itself_may_be_one(tmp_path):
    (tmp_path / "run" / "images").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "run" / "images" / "none").symlink_to(tmp_path / "secret")
    for names in (("images", "none"), ("images", "none", "0000.png")):
        with pytest.raises(AtmError, match="none is a link"):
            inside(tmp_path / "run", *names)
    (tmp_path / "alias").symlink_to(tmp_path / "run")
    assert inside(tmp_path / "alias", "images") == tmp_path / "alias" / "images"
    with pytest.raises(AtmError, match="File name too long"):
        inside(tmp_path, "x" * 300)
