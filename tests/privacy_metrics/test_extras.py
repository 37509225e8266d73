"""What an error says about a missing package can be typed, and names an extra that there is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from privacy_metrics import extras

ROOT = Path(__file__).parents[2]
PACKAGES = ("atm", "attacks", "audit", "defenses", "privacy_metrics", "reports")


@pytest.mark.parametrize(("found", "command"), [(object(), "pip"), (None, "uv pip")])
def test_the_command_is_one_that_the_environment_has(monkeypatch, found, command):
    monkeypatch.setattr(extras, "find_spec", lambda name: found)
    assert extras.extra("hf") == f"in the checkout, do: {command} install -e '.[hf]'"


def test_every_extra_that_an_error_names_is_there():
    there = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    sources = [path.read_text() for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    named = {name for source in sources for name in re.findall(r"\{extra\('(\w+)'\)\}", source)}
    assert {"hf", "live", "ray"} <= named <= there.keys()
    assert not [source for source in sources if "atm-privacy[" in source], "the package is on no index"
