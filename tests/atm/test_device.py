"""Devices by name."""

from __future__ import annotations

import pytest
import torch

from atm.device import resolve
from atm.errors import AtmError
from tests.pretend_device import NAME, pretend_device


def test_the_cpu_is_always_there_and_auto_is_what_is_there(monkeypatch):
    assert resolve("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert resolve("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve("auto") == torch.device("cuda") and resolve("cuda:1") == torch.device("cuda", 1)


@pytest.mark.parametrize("name, said", [
    ("cuda", "device 'cuda' is not there: PyTorch finds cpu"),
    ("cuda:1", "is not there"),
    ("meta", "is not there"),
    ("gpu", "unknown device 'gpu'"),
    ("cuad:1", "did you mean 'cuda:1'"),
    ("cuda:-1", "unknown device"),
    ("", "unknown device"),
])  # fmt: skip
def test_what_is_not_there_is_one_line(monkeypatch, name, said):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(AtmError) as caught:
        resolve(name)
    assert said in str(caught.value)


def test_a_registered_backend_is_a_device():
    with pretend_device() as device:
        assert resolve(NAME).type == device.type
        with pytest.raises(AtmError, match="is not there"):
            resolve(f"{NAME}:7")
