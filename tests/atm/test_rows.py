"""Tensors by rows: from memory or from a file, rows are those of the tensor."""

from __future__ import annotations

import errno
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import atm.rows
from atm.errors import StorageError
from atm.rows import Held, Pixels, few, kept


def drawn(dtype: torch.dtype, count: int = 60) -> torch.Tensor:
    values = torch.randn(count, 3, 5, 2, generator=torch.Generator().manual_seed(0))
    return torch.view_as_complex(values) if dtype == torch.complex64 else values.to(dtype)


@pytest.fixture(params=["memory", "file"])
def most(request, monkeypatch, tmp_path) -> int:
    monkeypatch.setenv("ATM_CACHE", str(tmp_path))
    monkeypatch.setattr(atm.rows, "IN_MEMORY", 2**28 if request.param == "memory" else 500)
    return atm.rows.IN_MEMORY


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64, torch.int64], ids=str)
def test_rows_are_those_of_the_tensor(most, dtype):
    whole = drawn(dtype)
    rows = kept(whole.split(7))
    assert isinstance(rows, Held) == (most > 500) and rows.shape == whole.shape and len(rows) == 60
    wanted = [torch.tensor([3, 4, 5, 59, 2, 2]), torch.tensor([[1, 2], [7, 8]]), torch.arange(60) % 3 == 0]
    for index in (*wanted, slice(5, 50), slice(-3, None), torch.tensor([], dtype=torch.long)):
        assert torch.equal(rows[index], whole[index])
    assert torch.equal(rows[4], whole[4]) and torch.equal(rows[-1], whole[-1]) and len(list(rows)) == 60
    for beyond in (60, -61, torch.tensor([3, 60]), torch.tensor([-1])):
        with pytest.raises(IndexError, match="of 60"):
            rows[beyond]
    assert torch.equal(torch.cat(list(rows.split(8))), whole)
    assert torch.equal(rows.to(torch.device("cpu"))[:], whole)


def test_what_is_large_is_in_a_file_that_has_no_name(most, tmp_path):
    before = set(os.listdir("/proc/self/fd"))
    rows = kept(drawn(torch.float32).split(7))
    assert not list(tmp_path.rglob("*"))
    assert torch.allclose(rows.mean(), drawn(torch.float32).mean(0), atol=1e-6)
    del rows
    assert set(os.listdir("/proc/self/fd")) == before, "it ends with its last reader"


@given(st.lists(st.integers(0, 4), min_size=1, max_size=3), st.data())
def test_pictures_of_several_sets_stand_one_set_behind_another(counts, data):
    if not sum(counts):
        return
    sets = [torch.randint(256, (count, 1, 2, 3), dtype=torch.uint8) for count in counts]
    whole = torch.cat(sets).float() / 255
    rows = torch.tensor(data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=9)), dtype=torch.long)
    pictures = Pixels(sets)
    assert len(pictures) == len(whole) and torch.equal(pictures[rows], whole[rows])
    assert torch.allclose(pictures.mean(), whole.mean(0), atol=1e-6)


def test_parts_are_as_large_as_memory_allows():
    assert few(10, 512) == 512 and few(2**24) == 1 and few(2**30) == 1 and few(2**20, 512) == 16
    with pytest.raises(ValueError, match="no parts"):
        kept(iter(()))
    with pytest.raises(ValueError, match="expected 0"):
        Pixels([torch.zeros(2, 1, 2, 2, dtype=torch.uint8)]).mean(1)


def test_a_full_disk_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(atm.rows, "IN_MEMORY", 10)
    monkeypatch.setenv("ATM_CACHE", str(tmp_path / "there"))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageError, match="No space left on device; set ATM_CACHE"):
        kept([torch.zeros(9)])
    monkeypatch.undo()
    monkeypatch.setattr(atm.rows, "IN_MEMORY", 10)
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("ATM_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="set ATM_CACHE"):
        kept([torch.zeros(9)])
