"""What the README and CONTRIBUTING say is run as it stands there."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import ThreatModel
from attacks.session import Session
from tests.atm.models import tiny_encoder

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # six runs, each with a limit of its own
def test_the_three_things_run_as_commands_and_as_python(tmp_path):
    commands = [line for block in blocks(README, "console") for line in block.splitlines() if line.startswith("atm ")]
    snippets = blocks(README, "python")
    assert [c.split()[1] for c in commands] == ["attack", "report", "search"] and len(snippets) == 3
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),  # this checkout, wherever the environment has its own
        "OMP_NUM_THREADS": "2",
    }
    for command, snippet in zip(commands, snippets, strict=True):
        for words in (["sh", "-c", command], [sys.executable, "-c", snippet]):
            done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
            assert done.returncode == 0, done.stderr
            assert done.stdout.strip()
    assert (tmp_path / "runs/first/report.html").exists() and (tmp_path / "runs/front/front.csv").exists()


def test_every_folder_in_the_layout_is_there():
    folders = re.findall(r"^\| `(\w+)/`", CONTRIBUTING, re.MULTILINE)
    assert len(folders) >= 8 and all((ROOT / folder).is_dir() for folder in folders)
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README + CONTRIBUTING):
        assert (ROOT / link).exists(), link


def test_the_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 48, 32), (1, 64, 64), (3, 96, 96)])
def test_the_attack_of_contributing_runs_for_pictures_of_any_size(shape):
    scope: dict = {}
    exec(blocks(CONTRIBUTING, "python")[0], scope)
    pictures = torch.rand(22, *shape, generator=torch.Generator().manual_seed(0))
    victim = tiny_encoder(img_size=shape[1:], in_chans=shape[0])
    session = Session(Link(victim, MergePolicy.uniform(1.0, 3)), ThreatModel("server"), pictures[2:])
    _, seen, _ = session.victims(pictures[:2])
    assert torch.equal(session.fitted(scope["Grey"]).reconstruct(seen), torch.full((2, *shape), 0.5))


@pytest.mark.slow
def test_the_attack_of_contributing_pasted_into_a_new_file_is_found_and_runs(tmp_path):
    (tmp_path / "attacks_of_ours").mkdir()
    (tmp_path / "attacks_of_ours/grey.py").write_text(blocks(CONTRIBUTING, "python")[0])
    start = f"import attacks; attacks.__path__.append({str(tmp_path / 'attacks_of_ours')!r}); "
    asked = "atm attack --attack grey --policy none --images 4 --auxiliary 40 --quick --out run --json"
    done = subprocess.run(
        [sys.executable, "-c", start + "from audit.cli import main; main()", *shlex.split(asked)[1:]],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/images/none/grey/0003.png").exists()


@pytest.mark.parametrize("text", [README, CONTRIBUTING], ids=["README", "CONTRIBUTING"])
def test_names_and_paths_are_those_of_the_code(text):
    packages, groups = "atm|attacks|audit|defenses|privacy_metrics|reports", {"atm.attacks", "atm.defenses"}
    for name in set(re.findall(rf"`((?:{packages})(?:\.\w+)+)[`(]", text)) - groups:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name
    for path in re.findall(rf"`((?:{packages}|tests|benchmarks|docs)/[\w/.]*)`", text):
        assert (ROOT / path).exists(), path


TEXTS = ["README.md", "CONTRIBUTING.md", "docs/glossary.md", "Makefile", "pyproject.toml", "constraints.txt"]


@pytest.mark.parametrize("path", TEXTS)
def test_no_file_names_a_registry_or_a_machine(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    assert not re.search(r"/work/|/root/|/home/|pypi\.org|pythonhosted|index-url", text)
