"""Rows of a benchmark: read from JSON lines, printed as such while they come, or as a table in Markdown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from atm.errors import AtmError

Row = TypeVar("Row")


def show(rows: Iterable[Row], as_json: bool, table: Callable[[list[Row]], str]) -> None:
    """Print each row as it comes, or a table of all of them."""
    found = told(rows, as_json)
    if not as_json:
        print(table(found))


def told(rows: Iterable[Row], as_json: bool) -> list[Row]:
    """All rows; each is printed as it comes where JSON was asked for."""
    found = []
    for row in rows:
        found.append(row)
        if as_json:
            print(_json(row), flush=True)
    return found


def stream(rows: Iterable[Row], as_json: bool, line: Callable[[Row], str], head: str = "") -> list[Row]:
    """All rows; each is printed as it comes, as JSON or in a line of its own below a head."""
    if head and not as_json:
        print(head)
    found = []
    for row in rows:
        found.append(row)
        print(_json(row) if as_json else line(row), flush=True)
    return found


def table_of(paths: Iterable[Path], table: Callable[[list[dict[str, Any]]], str]) -> str:
    """The table of rows that were printed before.

    Raises:
        AtmError: a file that is missing, or whose lines are no rows of that table.
    """
    paths = list(paths)
    rows, where = [row for path in paths for row in _read(path)], " ".join(map(str, paths))
    if not rows:
        raise AtmError(f"{where}: no rows")
    try:
        return table(rows)
    except KeyError as error:
        raise AtmError(f"{where}: a row without {error} is none of this benchmark") from None


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise AtmError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise AtmError(f"{path} is no file of JSON lines: {error}") from None
    if not all(isinstance(row, dict) for row in found):
        raise AtmError(f"{path} has lines that are no JSON objects")
    return found


def _json(row: object) -> str:
    return json.dumps(row, default=asdict)


def markdown(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table of cells; see `head` for the headings."""
    return "\n".join([head(headings), *map(line, rows)])


def head(headings: Sequence[str]) -> str:
    """The first two lines of a table; numbers, set to the right, stand below a heading that ends in a colon."""
    sides = [f"---{heading[-1:] if heading.endswith(':') else ''}" for heading in headings]
    return "\n".join([line(heading.removesuffix(":") for heading in headings), line(sides)])


def line(cells: Iterable[object]) -> str:
    """A line of a table."""
    return f"| {' | '.join(map(str, cells))} |"
