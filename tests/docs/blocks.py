"""Code blocks of Markdown pages, and the command lines in them.

What stands behind the language of a block says what becomes of it: ``file=NAME`` is written to a file, ``slow`` runs
only where ``ATM_DOCS_SLOW`` is set, ``own`` needs files that a test makes. Blocks of ``console`` and ``python`` are
run; those of ``sh`` are parsed.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w+)([^\n`]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^    .*\n)+", re.MULTILINE)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]
    if "docs/reference/api" not in path.as_posix() and path.name != "cli.md"  # made from the code
)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        language: its first word.
        marks: the words behind it.
        text: what is in it.
    """

    language: str
    marks: tuple[str, ...]
    text: str

    @property
    def file(self) -> str | None:
        """The name of the file that it is."""
        return next((mark.removeprefix("file=") for mark in self.marks if mark.startswith("file=")), None)


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = path.read_text(encoding="utf-8")
    return [Block(language, tuple(marks.split()), body) for language, marks, body in FENCE.findall(text)]


def lines(text: str) -> list[str]:
    """Command lines of a block: those that end in a backslash go on."""
    return [line.strip() for line in re.sub(r"\\\n\s*", " ", text).splitlines() if line.strip()]


def words(line: str) -> list[str]:
    """What the shell makes of a line: without comment, assignments in front, and where the output goes."""
    found = shlex.split(line, comments=True)
    while found and re.fullmatch(r"[A-Z_]+=\S*", found[0]):
        del found[0]
    return found[: found.index(">")] if ">" in found else found


def written(path: Path) -> list[str]:
    """Every command line of a page's blocks, fenced and indented."""
    fenced = [line for block in blocks(path) if block.language in ("console", "sh") for line in lines(block.text)]
    plain = FENCE.sub("", path.read_text(encoding="utf-8"))
    indented = [line for found in INDENTED.findall(plain) for line in lines(found)]
    return [*fenced, *(line for line in indented if re.match(r"(\w+=\S+ )?(atm|python|make) ", line))]


def inline(path: Path) -> list[str]:
    """Code within the sentences of a page."""
    return INLINE.findall(FENCE.sub("", path.read_text(encoding="utf-8")))
