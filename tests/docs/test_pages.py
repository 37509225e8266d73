"""Every code block of the documentation does what it says, and every command in it could be given."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch

from atm import channels, plugins
from atm.plugins import discover
from tests.atm.models import tiny_vit
from tests.audit.conftest import atm as atm
from tests.audit.conftest import pictures as pictures
from tests.audit.conftest import victim as victim
from tests.docs import commands
from tests.docs.blocks import PAGES, ROOT, Block, blocks, inline, lines, words, written

SLOW = os.environ.get("ATM_DOCS_SLOW")
RUN = ("console", "python")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def runs(block: Block) -> bool:
    return block.language in RUN and block.file is None and ("slow" not in block.marks or bool(SLOW))


RUNNABLE = [path for path in PAGES if any(runs(block) for block in blocks(path))]
AT_LENGTH = [
    pytest.param(path, id=name(path), marks=[] if name(path) == "README.md" else [pytest.mark.slow])
    for path in RUNNABLE
]
FENCED = [path for path in PAGES if blocks(path) or written(path)]


@pytest.fixture
def own(tmp_path, monkeypatch, victim, pictures):
    """A working folder with the files that a reader is asked to bring, but for those that the page makes itself."""

    def prepare(path: Path) -> None:
        made = re.findall(r"(?:--out |file=)(\S+)", path.read_text(encoding="utf-8"))
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
        shutil.copytree(pictures, "my_pictures")
        shutil.copytree(pictures, "other_pictures")
        for number, file in enumerate(sorted(Path("other_pictures").rglob("*.png"))):
            mirrored(file, number)
        torch.save(tiny_vit().state_dict(), "checkpoint.pth")
        if "my_vit.safetensors" not in made:
            shutil.copy(victim, "my_vit.safetensors")
        if "my_policy.yaml" not in made:
            Path("my_policy.yaml").write_text("thresholds: [1, 0.9, 0.8]\n")

    return prepare


def mirrored(file: Path, turns: int) -> None:
    from PIL import Image, ImageOps

    with Image.open(file) as image:
        changed = ImageOps.mirror(image) if turns % 2 else ImageOps.flip(image)
    changed.save(file)


@pytest.fixture
def install(monkeypatch):
    """Announce what a page's pyproject.toml announces, as if the package were installed."""
    before = dict(channels.CHANNELS)

    def announce(text: str) -> None:
        groups = tomllib.loads(text)["project"]["entry-points"]
        monkeypatch.setattr(
            plugins,
            "entry_points",
            lambda group: [EntryPoint(key, value, group) for key, value in groups.get(group, {}).items()],
        )

    yield announce
    channels.CHANNELS.clear()
    channels.CHANNELS.update(before)
    for module in ("my_attacks", "my_defences", "my_channels"):
        sys.modules.pop(module, None)


@pytest.mark.timeout(3600 if SLOW else 900)
@pytest.mark.parametrize("path", AT_LENGTH)
def test_the_blocks_of_a_page_run_one_after_the_other(path, atm, own, install):
    own(path)
    scope: dict = {"__name__": "page"}
    for block in blocks(path):
        if block.file:
            Path(block.file).write_text(block.text)
            if block.file == "pyproject.toml":
                install(block.text)
            if block.file == "my_channels.py":
                channels.CHANNELS.update(discover(channels, "atm.channels", channels.Channel))
        elif not runs(block) or (path.name == "README.md" and "own" not in block.marks):
            continue  # tests/test_readme.py runs the README's other blocks, as a stranger's shell does
        elif block.language == "python":
            exec(compile(block.text, f"{name(path)}, a block", "exec"), scope)
        else:
            for line in lines(block.text):
                if words(line)[0] == "atm":
                    code, out, err = atm(*words(line)[1:])
                    assert code == 0, f"{line}\n{err}"
                    assert out.strip() or err.strip(), line


@pytest.mark.parametrize("path", FENCED, ids=name)
def test_every_command_could_be_given(path):
    with_plugins = any(block.file == "pyproject.toml" for block in blocks(path))
    for line in written(path):
        if not (with_plugins and line in run_lines(path)):  # names of the page's own are checked by running it
            commands.check(words(line))


def run_lines(path: Path) -> list[str]:
    return [line for block in blocks(path) if runs(block) for line in lines(block.text)]


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_commands_and_options_in_sentences_are_there(path):
    known = {*commands.options(), "--help", "--version", "--debug"}
    sources = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "benchmarks").glob("*.py"))
    for code in inline(path):
        if re.match(r"atm [a-z]", code):
            commands.found(re.split(r"\s+", code)[1:])
        for option in re.findall(r"(?<!\S)--[a-z][a-z-]+", code):
            assert option in known or f'"{option}"' in sources, f"{code}: no option {option}"


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_no_page_names_a_machine_or_a_registry(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"/work/|/root/|/home/|/tmp/|pypi\.org|pythonhosted|index-url", text)


def test_a_block_has_a_language_and_marks_that_mean_something():
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        assert len(re.findall(r"^```$", text, re.MULTILINE)) == len(re.findall(r"^```\S", text, re.MULTILINE)), path
        for block in blocks(path):
            assert block.language in (*RUN, "sh", "yaml", "toml", "text"), (path, block.language)
            assert all(mark in ("slow", "own") or mark.startswith("file=") for mark in block.marks), (path, block)


def test_the_check_of_commands_can_fail():
    for wrong in ("atm atack", "atm attack --polcy none", "atm attack --images many", "atm attack --policy modrate",
                  "python -m benchmarks.link --colour", "make coffee", "atm attack --channel tin"):  # fmt: skip
        with pytest.raises(Exception):  # noqa: B017 (of the parser, the framework or the test)
            commands.check(words(wrong))
