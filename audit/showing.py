"""What commands print: tables as wide as the terminal, and finished comparisons, sweeps and searches."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from atm.text import printable
from audit.options import out
from reports.export import Export, finite

# What a narrow terminal can do without, the least important first; pages and JSON have all of it.
EXPENDABLE = ("thresholds", "victim", "symbols", "GFLOPs", "flags", "her SNR", "tokens", "threat model", "accuracy")


def show(export: Export, as_json: bool, files: dict[str, Path]) -> None:
    """Print a table, its sentences and where the files are; or one JSON object.

    Args:
        export: what the folder says.
        as_json: whether a machine reads it.
        files: by what they are called.
    """
    if as_json:
        where = {name: str(path) for name, path in files.items()}
        print(json.dumps({**finite(export.content), **where}, allow_nan=False))
        return
    show_table(export.title, export.headings, export.rows)
    for line in export.lines:
        out.print(foreign(line), soft_wrap=True)
    for name, path in files.items():
        out.print(f"{name}: {foreign(path)}", soft_wrap=True)


def show_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table of foreign text. Where a terminal is too narrow for its words, `EXPENDABLE` columns are left out.

    Args:
        title: of the table.
        headings: of its columns.
        rows: a cell for each heading.
    """
    rows, shown, left_out = list(rows), list(headings), []
    while not _fits(table := _table(title, headings, rows, shown)):
        if (least := next((heading for heading in EXPENDABLE if heading in shown), None)) is None:
            break
        shown.remove(least)
        left_out.append(least)
    out.print(table)
    if left_out:
        out.print(f"[dim]not shown for want of room: {', '.join(left_out)}[/]")


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]], shown: Sequence[str]) -> Table:
    table = Table(title=foreign(title))
    for heading in shown:
        table.add_column(foreign(heading))
    for row in rows:
        cells = dict(zip(headings, row, strict=True))
        table.add_row(*[foreign(cells[heading]) for heading in shown])
    return table


def _fits(table: Table) -> bool:
    """Whether no word need be cut."""
    return Measurement.get(out, out.options.update(max_width=10_000), table).minimum <= out.width


def foreign(text: object) -> str:
    """Text that somebody else wrote, as a terminal may have it: no control characters, and no markup."""
    return escape(printable(text))
