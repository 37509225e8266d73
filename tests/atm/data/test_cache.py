"""Large sets on disk: the same pixels, never stale, never half-written, within the limit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from atm import data
from atm.data import cache, reading
from atm.errors import AtmError
from tests.atm.data.test_data import folder, packed, picture


@pytest.fixture(autouse=True)
def few_are_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(reading, "MANY", 5)
    monkeypatch.setattr(reading, "MOST_WORKERS", 2)


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "pictures").glob("*"))


def decoded(monkeypatch: pytest.MonkeyPatch, *names: str, **options: object) -> int:
    """How many times a set's files are opened for decoding when it is loaded."""
    calls = []
    real = reading._decoded
    monkeypatch.setattr(reading, "_decoded", lambda *asked: calls.append(1) or real(*asked))
    data.load(*names, **options)
    monkeypatch.setattr(reading, "_decoded", real)
    return len(calls)


@pytest.mark.parametrize("as_tar", [False, True])
def test_cached_pictures_are_the_same_and_are_not_decoded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_tar: bool
) -> None:
    root = folder(tmp_path / "set", 40)
    (root / "ant" / "broken.png").write_bytes(b"x")
    name = str(packed(root, tmp_path / "set.tar") if as_tar else root)
    monkeypatch.setattr(reading, "MANY", 1000)
    plain = data.load(name)
    assert not entries(tmp_path)
    monkeypatch.setattr(reading, "MANY", 5)
    for _ in range(2):
        found = data.load(name)
        assert torch.equal(found.pixels, plain.pixels) and torch.equal(found.labels, plain.labels)
        assert (found.hashes, found.digest, found.skipped) == (plain.hashes, plain.digest, plain.skipped)
    assert len(entries(tmp_path)) == 1 and decoded(monkeypatch, name) == 0


def test_whatever_changes_the_pixels_makes_another_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "set", 12)
    asked = [{}, {"size": 8}, {"size": (8, 9)}, {"channels": 1}, {"limit": 9}, {"limit": 9, "seed": 1}]
    assert [decoded(monkeypatch, str(root), **options) for options in asked * 2] == [1] * 6 + [0] * 6
    before = data.load(str(root))
    picture(root / "ant" / "000.png", 99)
    os.utime(root / "ant" / "000.png", ns=(1, 1))
    assert [a != b for a, b in zip(before.hashes, data.load(str(root)).hashes, strict=True)].count(True) == 1


def test_writing_to_the_pixels_does_not_reach_the_file(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", 12)
    for _ in range(2):  # fresh and cached
        found = data.load(str(root))
        digest = found.digest
        found.pixels.zero_()
        assert data.load(str(root)).digest == digest and data.load(str(root)).pixels.any()


def test_a_damaged_entry_is_made_anew(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", 12)
    digest = data.load(str(root)).digest
    for damage in ("pixels.npy", "about.json"):
        path = entries(tmp_path)[0] / damage
        path.write_bytes(path.read_bytes()[:50])
        found = data.load(str(root))
        assert data.ImageSet("x", found.pixels, found.labels, found.classes).digest == digest


def test_the_oldest_entries_go_first_and_the_newest_never(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "set", 12)
    for age, size in ((30, 16), (20, 17), (10, 18)):
        data.load(str(root), size=size)
        newest = max(entries(tmp_path), key=lambda place: place.stat().st_mtime)
        os.utime(newest, (1e9 - age, 1e9 - age))
    assert len(entries(tmp_path)) == 3
    data.load(str(root), size=16)  # used again: now the youngest
    monkeypatch.setenv("ATM_CACHE_LIMIT", str(28_000 / 1e9))  # room for two
    data.load(str(root), size=15)
    monkeypatch.setenv("ATM_CACHE_LIMIT", "1")
    assert len(entries(tmp_path)) == 2
    assert [decoded(monkeypatch, str(root), size=size) for size in (15, 16)] == [0, 0]


def test_nothing_is_left_of_what_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "set", 12)
    picture(root / "bee" / "999.png", 1, (20, 20))
    with pytest.raises(AtmError, match="different sizes"):
        data.load(str(root))
    assert entries(tmp_path) == []


@pytest.mark.parametrize("limit", ["0", "0.000000001"])
def test_a_set_above_the_limit_stays_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setenv("ATM_CACHE_LIMIT", limit)
    assert len(data.load(str(folder(tmp_path / "set", 12)))) == 12
    assert entries(tmp_path) == []


def test_a_full_disk_and_an_unwritable_place_are_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "set", 12)

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "_reserve", full)
    digest = data.load(str(root)).digest
    assert entries(tmp_path) == []
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("ATM_CACHE", str(tmp_path / "file"))
    assert data.load(str(root)).digest == digest


@pytest.mark.parametrize("limit", ["much", "-1", "nan"])
def test_a_limit_that_is_no_number_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setenv("ATM_CACHE_LIMIT", limit)
    with pytest.raises(AtmError, match="ATM_CACHE_LIMIT"):
        data.load(str(folder(tmp_path / "set", 12)))


def test_consecutive_rows_are_views_of_the_file(tmp_path: Path) -> None:
    found = data.load(str(folder(tmp_path / "set", 12)))
    part = found.subset(range(3, 9))
    assert part.pixels.untyped_storage().data_ptr() == found.pixels.untyped_storage().data_ptr()
    assert part.hashes == found.hashes[3:9]
    assert found.subset([]).pixels.shape == (0, *found.pixels.shape[1:])
    assert found.subset([-1]).hashes == found.hashes[-1:]


def test_decoding_draws_no_random_number(tmp_path: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    data.load(str(folder(tmp_path / "set", 12)))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("damage", ["no pixels", "other fields", "a list", "no pictures"])
def test_damaged_entries_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    root = str(folder(tmp_path / "set", 12))
    digest = data.load(root).digest
    (entry,) = entries(tmp_path)
    if damage == "no pixels":
        (entry / "pixels.npy").write_bytes(b"")
    else:
        contents = {"other fields": '{"x": 1}', "a list": "[]", "no pictures": '{"labels": [], "hashes": []}'}
        (entry / "about.json").write_text(contents[damage])
    assert data.load(root).digest == digest and decoded(monkeypatch, root) == 0
