"""`atm convert`, and pickles everywhere else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from atm.errors import AtmError
from atm.victims import load_victim
from atm.victims.pickles import convert
from tests.atm.victims.saved import NAME, answer, expected, images, model


class Runs:
    """Writes a file where somebody unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_becomes_weights(tmp_path):
    made = model()
    torch.save(made.state_dict(), tmp_path / "w.pth")
    assert "tensors" in convert(tmp_path / "w.pth", tmp_path / "w.safetensors")
    victim = load_victim(NAME, tmp_path / "w.safetensors")
    torch.testing.assert_close(answer(victim, images(3, 32, 32)), expected(made, images(3, 32, 32)), atol=1e-4, rtol=0)


@pytest.mark.parametrize("nest", [("state_dict",), ("model",), ("checkpoint", "net"), ("model", "state_dict")])
def test_a_nested_state_dict_is_found(tmp_path, nest):
    content = {"a.weight": torch.ones(2), "a.bias": torch.zeros(1)}
    for key in reversed(nest):
        content = {key: content, "epoch": 3, "optimizer": {"state": {0: torch.ones(4)}}}
    torch.save(content, tmp_path / "w.pth")
    if nest[0] == "checkpoint":  # no script's usual word
        with pytest.raises(AtmError, match="no state dict"):
            convert(tmp_path / "w.pth", tmp_path / "w.safetensors")
        return
    said = convert(tmp_path / "w.pth", tmp_path / "w.safetensors")
    assert "".join(f"[{key!r}]" for key in nest) in said
    assert load_file(tmp_path / "w.safetensors").keys() == {"a.weight", "a.bias"}


def test_code_in_a_pickle_never_runs(tmp_path):
    torch.save({"state_dict": {"a": torch.ones(1)}, "more": Runs(tmp_path / "ran")}, tmp_path / "w.pth")
    with pytest.raises(AtmError, match="more than tensors"):
        convert(tmp_path / "w.pth", tmp_path / "w.safetensors")
    assert not (tmp_path / "ran").exists() and not (tmp_path / "w.safetensors").exists()


def test_a_whole_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pth")
    with pytest.raises(AtmError, match=r"save model\.state_dict\(\) instead"):
        convert(tmp_path / "w.pth", tmp_path / "w.safetensors")


@pytest.mark.parametrize("content", [b"", b"nothing", b"\x80\x04N."])
def test_files_that_are_no_checkpoint(tmp_path, content):
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(AtmError) as caught:
        convert(tmp_path / "w.pth", tmp_path / "w.safetensors")
    assert "\n" not in str(caught.value) and not (tmp_path / "w.safetensors").exists()


def test_a_missing_file(tmp_path):
    with pytest.raises(AtmError, match="no such file"):
        convert(tmp_path / "w.pth", tmp_path / "w.safetensors")


def test_nan_is_refused(tmp_path):
    torch.save({"a": torch.tensor([float("nan")])}, tmp_path / "w.pth")
    with pytest.raises(AtmError, match="a"):
        convert(tmp_path / "w.pth", tmp_path / "w.safetensors")


def test_shared_tensors_are_written_twice(tmp_path):
    shared = torch.ones(3)
    torch.save({"a": shared, "b": shared, "c": torch.arange(6).reshape(2, 3).T}, tmp_path / "w.pth")
    convert(tmp_path / "w.pth", tmp_path / "w.safetensors")
    found = load_file(tmp_path / "w.safetensors")
    assert found["c"].tolist() == [[0, 3], [1, 4], [2, 5]] and found["a"].equal(found["b"])


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt"])
def test_a_pickle_as_weights_or_victim_says_what_to_do(tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    torch.save({"a": torch.ones(1)}, path)
    with pytest.raises(AtmError, match=rf"atm convert w\{suffix} w\.safetensors"):
        load_victim(NAME, path)
    with pytest.raises(AtmError, match="atm convert"):
        load_victim(str(path))
