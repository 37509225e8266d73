"""What the README and CONTRIBUTING say is run as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.timeout(1800)  # six runs, each with a limit of its own
def test_the_three_things_run_as_commands_and_as_python(tmp_path):
    commands = [line for block in blocks(README, "console") for line in block.splitlines() if line.startswith("atm ")]
    snippets = blocks(README, "python")
    assert [c.split()[1] for c in commands] == ["attack", "report", "search"] and len(snippets) == 3
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "2"}
    for command, snippet in zip(commands, snippets, strict=True):
        for words in (["sh", "-c", command], [sys.executable, "-c", snippet]):
            done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
            assert done.returncode == 0, done.stderr
            assert done.stdout.strip()
    assert (tmp_path / "runs/first/report.html").exists() and (tmp_path / "runs/front/front.csv").exists()


def test_every_folder_in_the_layout_is_there():
    for folder in re.findall(r"^\| `(\w+)/`", README, re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / link).exists(), link


def test_the_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_attack_of_contributing_runs():
    import torch

    from atm.threat import Knowledge
    from tests.attacks.planted import PlantedLink, pictures
    from tests.attacks.test_attacks import SERVER

    scope = {"torch": torch, "Knowledge": Knowledge}
    exec(blocks(CONTRIBUTING, "python")[0], scope)
    attack, link = scope["Grey"](), PlantedLink(lambda p: p)
    attack.fit(link, SERVER, pictures(20))
    assert attack.reconstruct(SERVER.tap_images(link, pictures(2))).shape == (2, 3, 64, 64)


@pytest.mark.parametrize("path", ["README.md", "CONTRIBUTING.md", "Makefile", "pyproject.toml", "constraints.txt"])
def test_no_file_names_a_registry_or_a_machine(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    assert not re.search(r"/work/|/root/|/home/|pypi\.org|pythonhosted|index-url", text)
