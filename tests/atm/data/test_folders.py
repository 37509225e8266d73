"""Which files of a folder or tar are pictures, and of which class and split: planted troublemakers of every kind."""

from __future__ import annotations

import io
import json
import os
import sys
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atm import data
from atm.data.folders import find, natural
from atm.errors import AtmError
from tests.atm.data.test_data import folder, packed, picture

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names or files")


@pytest.mark.parametrize("as_tar", [False, True])
def test_hidden_and_system_files_are_passed_over(tmp_path: Path, as_tar: bool) -> None:
    root = folder(tmp_path / "set", 4)
    clean = data.load(str(root)).digest
    for seed, name in enumerate(
        ("__MACOSX/._a.png", ".ipynb_checkpoints/a.png", ".git/x/a.png", "ant/@eaDir/a.png", "bee/.a.png")
    ):
        picture(root / name, 50 + seed)
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini"):
        (root / "ant" / name).write_bytes(b"x")
    found = data.load(str(packed(root, tmp_path / "set.tar") if as_tar else root))
    assert (found.classes, found.skipped, found.digest) == (("ant", "bee"), (), clean)


@pytest.mark.parametrize("as_tar", [False, True])
@pytest.mark.parametrize("wrapped", ["", "data/v2/"])
@pytest.mark.parametrize("test", ["test", "val", "validation"])
def test_splits_by_their_usual_names(tmp_path: Path, as_tar: bool, wrapped: str, test: str) -> None:
    root = tmp_path / "set"
    for seed, split in enumerate(("train", test)):
        for number in range(3):
            picture(root / f"{wrapped}{split}" / ("ant", "bee")[number % 2] / f"{number}.png", 10 * seed + number)
    name = str(packed(root, tmp_path / "set.tar") if as_tar else root)
    train, tested = data.load(name, "train"), data.load(name, "test")
    assert len(train) == len(tested) == 3 and not set(train.hashes) & set(tested.hashes)
    assert tested.hashes == data.load(str(root / f"{wrapped}{test}")).hashes
    assert train.classes == ("ant", "bee") and train.skipped == ()


def test_a_class_may_be_called_like_a_split(tmp_path: Path) -> None:
    for seed, name in enumerate(("train", "plane", "test")):
        picture(tmp_path / "set" / name / "a.png", seed)
    assert data.load(str(tmp_path / "set")).classes == ("plane", "test", "train")


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "set" / "train" / "ant" / "a.png", 0)
    with pytest.raises(AtmError, match="no test split"):
        data.load(str(tmp_path / "set"), "test")


def test_many_strays_are_one_line(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", 2)
    for number in range(400):
        (root / "ant" / f"{number:03}.txt").write_text("x")
    (line,) = data.load(str(root)).skipped
    assert line == "400 files: not named like a picture (ant/000.txt, ant/001.txt, ant/002.txt and 397 more)"


def test_links_are_not_followed_in_circles_and_folders_are_read_once(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", 6)
    clean = data.load(str(root)).digest
    (root / "ant" / "up").symlink_to("..")
    (root / "ant" / "itself").symlink_to(".")
    (root / "again").symlink_to("bee")
    (root / "zoo").symlink_to("bee")
    found = data.load(str(root))
    assert found.digest == clean and found.classes == ("ant", "bee")
    assert len(found.skipped) == 1 and "4 files" in found.skipped[0]


def test_a_folder_of_links_to_class_folders_is_read(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", 6)
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "insect").symlink_to(root / "ant")
    found = data.load(str(tmp_path / "part"))
    assert found.classes == ("insect",) and len(found) == 3


@LINUX
def test_links_to_nothing_pipes_and_names_that_are_no_utf8(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", 2)
    (root / "ant" / "gone.png").symlink_to("nowhere.png")
    (root / "ant" / "self.png").symlink_to("self.png")
    os.mkfifo(root / "ant" / "pipe.png")
    for name in (b"caf\xe9.png", b"esc\x1b[31m.png", b"line\nend.txt"):
        with open(os.path.join(os.fsencode(root / "ant"), name), "wb") as file:
            file.write((root / "ant" / "000.png").read_bytes() if name.startswith(b"caf") else b"x")
    os.mkdir(os.path.join(os.fsencode(root), b"w\xe9\x1b"))
    picture(root / "ant" / "w.png", 9).rename(Path(os.fsdecode(os.fsencode(root) + b"/w\xe9\x1b")) / "w.png")
    found = data.load(str(root))
    assert len(found) == 4  # two, the one whose name is no UTF-8, and the one in such a folder
    said = "\n".join((*found.skipped, *found.classes))
    json.dumps(said).encode()
    said.encode()
    assert "\x1b" not in said and r"w\udce9\x1b" in found.classes
    for name in ("gone.png", "self.png", "pipe.png", r"esc\x1b[31m.png", r"line\nend.txt"):
        assert name in said


def test_classes_without_a_usable_picture_keep_their_place(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", 4)
    (root / "ape").mkdir()
    (root / "ape" / "broken.png").write_bytes(b"x")
    found = data.load(str(root))
    assert found.classes == ("ant", "ape", "bee") and set(found.labels.tolist()) == {0, 2}


def test_the_later_one_of_two_members_counts_and_links_are_named(tmp_path: Path) -> None:
    old, new = picture(tmp_path / "old.png", 1), picture(tmp_path / "new.png", 2)
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(old, "ant/a.png")
        tar.add(new, "ant/a.png")
        link = tarfile.TarInfo("ant/b.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    found = data.load(str(tmp_path / "a.tar"))
    picture(tmp_path / "plain" / "ant" / "a.png", 2)
    assert found.hashes == data.load(str(tmp_path / "plain")).hashes
    assert len(found.skipped) == 1 and "ant/b.png" in found.skipped[0]


def test_a_compressed_tar_is_one_clear_line(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder(tmp_path / "in"), ".")
    (tmp_path / "a.tar").write_bytes(buffer.getvalue())
    with pytest.raises(AtmError, match=r"a\.tar"):
        data.load(str(tmp_path / "a.tar"))


def test_numbers_in_names_sort_by_value() -> None:
    names = ["b1", "a10", "a9", "A2", "9", "10", "²", "a"]
    assert sorted(names, key=natural) == ["9", "10", "a", "A2", "a9", "a10", "b1", "²"]


def test_reading_at_an_offset_gives_the_member(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", 3)
    for file in find(packed(root, tmp_path / "set.tar"), "test").files:
        assert file.read() == (root / file.name).read_bytes()


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=8))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_tar_is_read_as_far_as_it_is_one_or_refused_in_one_line(
    tmp_path: Path, damage: list[tuple[int, int]]
) -> None:
    if not (tmp_path / "whole.tar").exists():
        packed(folder(tmp_path / "set", 4), tmp_path / "whole.tar")
    whole = bytearray((tmp_path / "whole.tar").read_bytes())
    for place, value in damage:
        whole[place % 4000] = value  # the headers are at the beginning of these small members
    (tmp_path / "damaged.tar").write_bytes(whole)
    try:
        found = data.load(str(tmp_path / "damaged.tar"), size=12)
    except AtmError as error:
        assert str(error).isprintable()
    else:
        assert "".join((*found.skipped, *found.classes)).isprintable()
