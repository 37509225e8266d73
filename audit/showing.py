"""What commands print of a finished comparison, sweep or search."""

from __future__ import annotations

import json
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from atm.text import printable
from audit.options import out
from reports.export import Export, finite


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
    table = Table(title=foreign(export.title))
    for heading in export.headings:
        table.add_column(foreign(heading))
    for row in export.rows:
        table.add_row(*[foreign(cell) for cell in row])
    out.print(table)
    for line in export.lines:
        out.print(foreign(line), soft_wrap=True)
    for name, path in files.items():
        out.print(f"{name}: {foreign(path)}", soft_wrap=True)


def foreign(text: object) -> str:
    """Text that somebody else wrote, as a terminal may have it: no control characters, and no markup."""
    return escape(printable(text))
