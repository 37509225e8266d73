"""A defence of another installed package is found, listed and run like one of our own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.audit.conftest import pictures, victim  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]


def install(folder: Path) -> None:
    """What an installer leaves behind: the module, and its metadata with the entry point."""
    (folder / "strangers_defence.py").write_text(
        '''class Halve:
    """Halves every value."""

    name = "halve"

    def protect(self, tokens, generator=None):
        return tokens.with_values(tokens.values / 2)
'''
    )
    info = folder / "strangers_defence-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers-defence\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[atm.defenses]\nhalve = strangers_defence:Halve\n")


def atm(site: Path, *words: object) -> dict:
    start = f"import sys; sys.path.insert(0, {str(site)!r}); from audit.cli import main; main()"
    made = subprocess.run(
        [sys.executable, "-c", start, *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    return json.loads(made.stdout.strip().splitlines()[-1])


def test_a_second_packages_defence_is_listed_and_runs(tmp_path, victim, pictures):  # noqa: F811
    install(tmp_path)
    assert {"name": "halve", "about": "Halves every value."} in atm(tmp_path, "list", "defenses", "--json")
    out = tmp_path / "run"
    atm(tmp_path, "attack", "--victim", victim, "--data", pictures, "--images", 4, "--auxiliary", 40, "--policy",
        "none", "--attack", "ridge", "--defense", "halve+drop:0.5", "--out", out, "--json")  # fmt: skip
    about = json.loads((out / "run.json").read_text())
    assert about["defence"] == "halve+drop:0.5" and "--defense halve+drop:0.5" in about["command"]
    assert "under the defence <b>halve+drop:0.5</b>" in (out / "report.html").read_text()
