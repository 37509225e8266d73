"""Fixtures for every test."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from torchvision.models import alexnet

from attacks import base

settings.register_profile("no test asserts a time", deadline=None)
settings.load_profile("no test asserts a time")

SHARED = Path(__file__).resolve().parents[2] / "shared"
ALEXNET = "hub/checkpoints/alexnet-owt-7be5be79.pth"  # in TORCH_HOME


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What a machine cannot run, or need not, is skipped with its reason."""
    reasons = {}
    if not torch.cuda.is_available():
        reasons["gpu"] = "needs a CUDA device, and PyTorch finds none"
    if not os.environ.get("ATM_SLOW"):
        reasons["slow"] = "half a minute or more; set ATM_SLOW, as CI does"
    for item in items:
        for marker, reason in reasons.items():
            if item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def shared_file() -> Callable[[str], Path]:
    """``shared_file("data/x.tar")``: that file of ``../shared``, or the test is skipped with the file's name."""

    def find(relative: str) -> Path:
        if not (SHARED / relative).exists():
            pytest.skip(f"needs ../shared/{relative}, which is missing")
        return SHARED / relative

    return find


@pytest.fixture(scope="session")
def planted_home(tmp_path_factory) -> Path:
    """A TORCH_HOME with random convolutions for LPIPS: wrong distances, but the same way to them."""
    home = tmp_path_factory.mktemp("torch_home")
    (home / ALEXNET).parent.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        features = alexnet().features.state_dict()
    torch.save({f"features.{name}": value for name, value in features.items()}, home / ALEXNET)
    return home


@pytest.fixture
def planted(monkeypatch, planted_home) -> Path:
    """The file with these weights, where LPIPS finds them."""
    monkeypatch.setenv("TORCH_HOME", str(planted_home))
    return planted_home / ALEXNET


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """Attacks take their quick parameters, unless a test gives its own."""
    made = base.made
    monkeypatch.setattr(base, "made", lambda attack, quick=False, **parameters: made(attack, True, **parameters))
