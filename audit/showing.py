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
WIDE = out.options.update(width=10_000)


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
    while (widths := _widths(columns := _columns(headings, rows, shown))) is None:
        if (least := next((heading for heading in EXPENDABLE if heading in shown), None)) is None:
            break
        shown.remove(least)
        left_out.append(least)
    table = Table(title=foreign(title))
    for number, (heading, *_) in enumerate(columns):
        table.add_column(heading, width=None if widths is None else widths[number], overflow="fold")
    for row in zip(*(cells for _, *cells in columns), strict=True):
        table.add_row(*row)
    out.print(table)
    if left_out:
        out.print(f"[dim]not shown for want of room: {', '.join(left_out)}[/]")


def _columns(headings: Sequence[str], rows: Sequence[Sequence[str]], shown: Sequence[str]) -> list[list[str]]:
    """What is printed, by column, the heading first."""
    columns = {heading: [heading, *cells] for heading, *cells in zip(headings, *rows, strict=True)}
    return [[foreign(text) for text in columns[heading]] for heading in shown]


def _widths(columns: Sequence[Sequence[str]]) -> list[int] | None:
    """Each column's width, at least that of its longest word; None where the terminal has no room for these.

    Rich itself shortens the widest column first, and cuts its words.
    """
    measured = [[Measurement.get(out, WIDE, text) for text in column] for column in columns]
    least = [max(cell.minimum for cell in column) for column in measured]
    most = [max(cell.maximum for cell in column) for column in measured]
    room = out.width - (3 * len(columns) + 1) - sum(least)
    if room < 0:
        return None
    wish = sum(most) - sum(least)
    return [low + ((high - low) * min(room, wish) // max(wish, 1)) for low, high in zip(least, most, strict=True)]


def foreign(text: object) -> str:
    """Text that somebody else wrote, as a terminal may have it: no control characters, and no markup."""
    return escape(printable(text))
