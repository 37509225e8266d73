"""What needs no network of neurons does not wait for any to be loaded."""

from __future__ import annotations

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
