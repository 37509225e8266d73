"""The site: its generated pages hold what the code has, it builds without a broken link, and it needs no network."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from types import ModuleType

import pytest

from audit.cli import app
from tests.docs.blocks import ROOT
from tests.docs.commands import COMMAND, options

SLOW = pytest.mark.skipif(not os.environ.get("ATM_DOCS_SLOW"), reason="a minute or more; set ATM_DOCS_SLOW")


def extension(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / f"docs/_ext/{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_the_command_line_has_every_command_option_and_default():
    generated = extension("generated")
    page = generated.command_page(app)
    for words, command in generated.commands(COMMAND, ("atm",)):
        section = page.split(f"\n## {' '.join(words)}\n")[1].split("\n## ")[0]
        for option in options(command):
            assert f"`{option}" in section, (words, option)
    about = "Pictures, sounds or sentences to attack; no verdict of privacy below 100. Default: `100`."
    assert f"`--images NUMBER`\n: {about}" in page


def test_every_module_has_its_place_in_the_reference():
    generated = extension("generated")
    pages = {name: generated.package_page(name) for name in generated.packages()}
    assert {"atm", "attacks", "defenses", "privacy_metrics", "reports", "audit"} <= pages.keys()
    assert "automodule:: atm.policy\n" in pages["atm"] and "automodule:: attacks.ridge\n" in pages["attacks"]
    assert "audit.cli" not in pages["audit"]


def test_links_to_files_of_the_repository_become_pages():
    links = extension("links").site_links
    assert links("[a](../benchmarks/search.md)") == "[a](/benchmarks/search.md)"
    assert links("[a](../CONTRIBUTING.md), [b](start.md)") == "[a](/contributing.md), [b](start.md)"


def test_references_are_those_of_the_code():
    resolved = extension("references").resolved
    assert resolved("MergePolicy", "atm.policy", None) and resolved("atm.link.Link.send", None, None)
    assert resolved("reconstruct", "attacks.base", "Attack") and resolved("int", None, None)
    assert not resolved("MergePolice", "atm.policy", None) and not resolved("atm.no_module", None, None)


@SLOW
@pytest.mark.timeout(1200)
def test_the_site_builds_and_asks_no_network(tmp_path):
    pytest.importorskip("sphinx")
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", ROOT / "docs", tmp_path / "site"]
    done = subprocess.run(build, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r'<(?:script|img|iframe)[^>]*src="(?:https?:)?//', text), page
        assert not re.search(r'<link[^>]*rel="(?:stylesheet|preload|icon)"[^>]*href="(?:https?:)?//', text), page


@SLOW
@pytest.mark.timeout(1200)
def test_the_pictures_are_drawn_by_one_command(tmp_path):
    script = f"import runpy; runpy.run_path('docs/pictures.py')['draw'](__import__('pathlib').Path({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    assert {path.name for path in tmp_path.iterdir()} == {p.name for p in (ROOT / "docs/concepts").glob("*.svg")}
