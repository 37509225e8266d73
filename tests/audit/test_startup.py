"""The command line answers at once what it can answer without the libraries that compute."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

import audit

HEAVY = {"torch", "torchvision", "timm", "botorch", "torchmetrics", "lpips", "scipy", "pandas", "kornia", "matplotlib"}
RUN = """
import json, sys
from audit.cli import main
try:
    main()
except SystemExit as stop:
    print(json.dumps([stop.code or 0, sorted(sys.modules)]))
"""


def run(*words: str) -> tuple[int, set[str], str]:
    """Exit code, all modules that were imported, and all that was printed."""
    done = subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, text=True, check=True)
    *_, last = done.stdout.splitlines()
    code, modules = json.loads(last)
    return code, set(modules), done.stdout + done.stderr


@pytest.mark.parametrize(
    "words, code",
    [
        (["--help"], 0),
        (["--version"], 0),
        (["attack", "--help"], 0),
        (["train", "codec", "--help"], 0),
        (["list", "data"], 0),
        ([], 2),
        (["--no-such-option"], 2),
        (["atack"], 2),
        (["attack", "--polici", "none"], 2),
        (["attack", "--images", "many"], 2),
        (["list", "atacks"], 2),
    ],
    ids=str,
)
def test_what_needs_nothing_imports_nothing(words, code):
    found, modules, printed = run(*words)
    assert found == code, printed
    assert not modules & HEAVY


def test_listing_attacks_imports_what_they_are_made_of_and_no_more():
    code, modules, printed = run("list", "attacks")
    assert code == 0 and "ridge" in printed
    assert modules & HEAVY == {"torch"}


def test_the_version_is_that_of_the_distribution():
    for command in (["-m", "audit"], ["-m", "atm"]):
        done = subprocess.run([sys.executable, *command, "--version"], capture_output=True, text=True, check=True)
        assert done.stdout == f"atm {version('atm-privacy')}\n"


@pytest.mark.parametrize("before", ["", "import audit.search.run", "import audit.cli", "from audit.search import *"])
def test_public_names_are_functions_whatever_was_imported_before(before):
    check = f"{before}\nfrom audit import AttackConfig, SearchConfig, attack, report, search; import inspect; "
    check += "assert all(map(inspect.isfunction, (attack, report, search))) and AttackConfig and SearchConfig"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_public_names_are_listed_and_others_are_none():
    assert set(audit.__all__) <= set(dir(audit))
    with pytest.raises(AttributeError, match="'audit' has no attribute 'atack'"):
        audit.atack  # noqa: B018
