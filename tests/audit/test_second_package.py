"""A second package, built and installed by a real installer, adds an attack and a defence without a change here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.audit.conftest import pictures, victim  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "stranger"
version = "1.0"

[project.entry-points."atm.attacks"]
grey = "stranger.attack:Grey"

[project.entry-points."atm.defenses"]
halve = "stranger.defence:Halve"
"""

ATTACK = '''
from attacks import Attack


class Grey(Attack):
    """Answers with grey, whatever was sent."""

    name = "grey"

    def fit(self, oracle):
        self.signal = oracle.signal

    def reconstruct(self, seen):
        return self.signal.blank(len(seen))
'''

DEFENCE = '''
from atm.defence import Defence


class Halve(Defence):
    """Halves every value."""

    name = "halve"

    def protect(self, tokens, generator=None):
        return tokens.with_values(tokens.values / 2)
'''


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the second package is installed, beside this environment and not in it."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    package = source / "stranger"
    package.mkdir()
    (source / "pyproject.toml").write_text(PROJECT)
    for name, text in {"__init__": "", "attack": ATTACK, "defence": DEFENCE}.items():
        (package / f"{name}.py").write_text(text)
    install = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--quiet",
        "--offline",
        "--no-deps",
        "--no-build-isolation",
    ]
    subprocess.run([*install, "--python", sys.executable, "--target", target, source], check=True)
    return target


def atm(site: Path, *words: object) -> dict:
    made = subprocess.run(
        [sys.executable, "-c", "from audit.cli import main; main()", *map(str, words)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return json.loads(made.stdout.strip().splitlines()[-1])


@pytest.mark.slow
def test_both_are_listed(site):
    attacks = [attack["name"] for attack in atm(site, "list", "attacks", "--json")]
    assert "grey" in attacks and "ridge" in attacks
    assert {"name": "halve", "about": "Halves every value."} in atm(site, "list", "defenses", "--json")


@pytest.mark.slow
def test_both_run_beside_our_own(site, tmp_path, victim, pictures):  # noqa: F811
    out = tmp_path / "run"
    atm(site, "attack", "--victim", victim, "--data", pictures, "--images", 4, "--auxiliary", 40, "--policy", "none",
        "--attack", "grey", "--attack", "ridge", "--defense", "halve+drop:0.5", "--out", out, "--json")  # fmt: skip
    about = json.loads((out / "run.json").read_text())
    assert about["defence"] == "halve+drop:0.5" and "--defense halve+drop:0.5" in about["command"]
    assert "under the defence <b>halve+drop:0.5</b>" in (out / "report.html").read_text()
    scores = (out / "scores.csv").read_text().splitlines()
    assert sum(line.startswith("none,grey,") and ",ssim," in line for line in scores) == 4
    assert (out / "images" / "none" / "grey" / "0003.png").exists()
