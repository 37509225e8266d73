"""The house of the design: arrows between packages point only downward."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = {"privacy_metrics": 0, "atm": 1, "attacks": 2, "defenses": 2, "reports": 3, "audit": 4}
CONVERTER = Path("atm/victims/pickles.py")  # reads tensors alone out of a pickle
SOURCES = sorted(path for package in FLOORS for path in (ROOT / package).rglob("*.py"))


def imported(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_imports_from_a_floor_above_it(path):
    package = path.relative_to(ROOT).parts[0]
    for name in imported(path.read_text(encoding="utf-8")) & FLOORS.keys():
        assert name == package or FLOORS[name] < FLOORS[package], f"{package} imports {name}"


def test_the_check_can_fail():
    assert imported("import audit.cli\nfrom attacks import ridge") == {"audit", "attacks"}


def test_nothing_is_unpickled():
    for path in SOURCES:
        text = path.read_text(encoding="utf-8")
        assert not {"pickle", "joblib", "dill"} & imported(text), path
        if path.relative_to(ROOT) != CONVERTER:
            assert "torch.load(" not in text, path
    assert (ROOT / CONVERTER).read_text(encoding="utf-8").count("torch.load(") == 1
    assert "weights_only=True" in (ROOT / CONVERTER).read_text(encoding="utf-8")


def test_files_stay_short():
    long = [str(p) for p in SOURCES if len(p.read_text(encoding="utf-8").splitlines()) > 400]
    assert long == []
