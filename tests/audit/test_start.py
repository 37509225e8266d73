"""What needs no network of neurons does not wait for any to be loaded."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = (
    "torch",
    "timm",
    "botorch",
    "torchmetrics",
    "pandas",
    "scipy",
    "numpy",
    "PIL",
    "yaml",
    "torchaudio",
    "soundfile",
)
LOADED = f"""
import sys
from audit.cli import main
try:
    main()
finally:
    print("loaded", *[name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""


def started(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", LOADED, *words], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--help"], 0, "attack"),
        (["--version"], 0, f"atm {version('atm-privacy')}"),
        (["attack", "--help"], 0, "--policy"),
        (["atack"], 2, "No such command 'atack'"),
        (["attack", "--polcy", "none"], 2, "No such option: --polcy"),
        (["attack", "--images", "many"], 2, "'--images'"),
        (["search", "--evals", "1.5"], 2, "'--evals'"),
    ],
)
def test_help_and_slips_of_the_pen_load_nothing_heavy(words, code, said):
    done = started(*words)
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert done.stderr.splitlines()[-1] == "loaded"


@pytest.mark.parametrize(
    "words",
    [
        "attack",
        "demo",
        "compare",
        "search",
        "pick runs",
        "sweep",
        "list attacks",
        "calibrate 0.3",
        "convert a.pth b.safetensors",
        "selfcheck",
        "selfcheck --null 1",
        "report runs",
        "leaderboard runs",
        "serve",
        "device",
        "channel",
        "listen",
        "profile",
        "export",
        "train victim",
        "train codec",
        "train head",
        "train merging",
        "train projector --victim a --lm b --data c",
        "train placer",
    ],
)
def test_that_libraries_are_loaded_is_said_before_they_are(words, tmp_path):
    (tmp_path / "torch.py").write_text("import sys\nsys.exit(7)\n")  # what takes seconds ends the command here
    terminal, theirs = pty.openpty()
    places = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "audit", *words.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": places, "TERM": "xterm", "PYTHONSAFEPATH": "1"},
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    said = os.read(terminal, 10_000).decode()
    os.close(terminal)
    assert done.returncode == 7 and "loading" in said and done.stdout == ""


@pytest.mark.parametrize("package", ["atm", "audit"])
def test_the_packages_are_commands_too(package):
    done = subprocess.run([sys.executable, "-m", package, "--version"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == f"atm {version('atm-privacy')}\n"


@pytest.mark.slow
def test_the_three_things_are_there_whatever_was_imported_before():
    script = """
import audit.pareto, audit.evaluate
from audit import AttackConfig, SearchConfig, attack, report, search
assert all(callable(each) for each in (AttackConfig, SearchConfig, attack, report, search, audit.search, audit.attack))
assert {"attack", "report", "search"} <= set(dir(audit))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with pytest.raises(ImportError):
        from audit import atack  # noqa: F401
