"""``atm list``."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from audit.options import Json, out


def list_(
    what: Annotated[
        str, typer.Argument(help="attacks, defenses, channels, victims, data, policies, threats or metrics.")
    ],
    as_json: Json = False,
) -> None:
    """What there is by name."""
    from audit.listing import listing

    rows = listing(what)
    if as_json:
        print(json.dumps([{"name": name, "about": about} for name, about in rows]))
        return
    table = Table(box=None, show_header=False)
    for name, about in rows:
        table.add_row(f"[bold]{escape(name)}[/]", escape(about))
    out.print(table if rows else f"no {what} yet")
