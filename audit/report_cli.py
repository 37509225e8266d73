"""The commands ``atm report`` and ``atm leaderboard``: finished folders and cards, shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atm.errors import AtmError, unknown
from atm.store import KINDS, write
from audit.options import Accept, Json, out
from audit.progress import loading

if TYPE_CHECKING:
    from reports.export import Export

# Columns of a leaderboard that a terminal has room for; a page has them all.
SHOWN = ("policy", "verdict", "threat model", "leakage", "recognised", "accuracy", "tokens", "flags", "victim")
HTML, FORMATS = "html", ("html", "md", "json", "csv")
Out = Annotated[
    Path | None, typer.Option("--out", help="File to write; default: the folder's page, or standard output.")
]


def report(
    run: Annotated[Path, typer.Argument(help="Folder of an attack, a comparison, a sweep or a search.")],
    against: Annotated[
        list[Path] | None,
        typer.Option(help="Run to hold it against: another adversary, SNR, seed or budget; repeatable."),
    ] = None,
    accept: Accept = None,
    form: Annotated[str, typer.Option("--format", help="html, md, csv, or json: of an attack's run its card.")] = HTML,
    to: Out = None,
    as_json: Json = False,
) -> None:
    """Write the report of a finished folder anew and print its summary, or print the report in another format."""
    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    if as_json and form != HTML:
        raise AtmError("--json prints the summary that goes with a page; leave it out where --format is given")
    if to is not None and not to.name:
        raise AtmError("--out needs the name of a file")
    kind = _kind(run)
    if kind != "attack" and (against or accept):
        raise AtmError(f"--against and --accept judge an attack's run; {run} holds a {KINDS[kind].noun}")
    if kind == "merging":
        raise AtmError(f"{run} holds a {KINDS[kind].noun}, which has a card and no report; attack its policy.yaml")
    with loading():
        kept = _attack(run, against or [], accept) if kind == "attack" else READERS[kind](run)
    if form == HTML:
        page = kept.page()
        if to is not None:
            write(to, page.read_bytes())
        kept.show(to or page, as_json)
        return
    export = kept.export()
    _give({"md": export.markdown, "json": export.json, "csv": export.csv}[form](), to)


def leaderboard(
    places: Annotated[list[Path], typer.Argument(help="Cards, run folders, or folders of either.")],
    to: Annotated[Path | None, typer.Option("--out", help="HTML file to write.")] = None,
    as_json: Json = False,
) -> None:
    """Set the results of many runs side by side, the least leakage first."""
    with loading():
        from audit.showing import foreign, show_table
        from reports.leaderboard import leaderboard, records, render, warnings

    rows = leaderboard(places)
    if to is not None:
        write(to, render(rows))
    if as_json:
        print(json.dumps({"rows": records(rows), "warnings": warnings(rows)}, allow_nan=False))
        return
    cells = [row.cells() for row in rows]
    title = f"{len(rows)} policies, the least leakage first"
    show_table(title, SHOWN, [[cell[heading] for heading in SHOWN] for cell in cells])
    for line in warnings(rows):
        out.print(f"[yellow]note[/]: {foreign(line)}", soft_wrap=True)
    if to is not None:
        out.print(f"page: {foreign(to)}", soft_wrap=True)


@dataclass(frozen=True)
class Kept:
    """A finished folder, ready to be shown.

    Attributes:
        page: writes the page, and says where.
        export: what the folder says in other formats.
        show: prints the summary beside a page, for people or as JSON.
    """

    page: Callable[[], Path]
    export: Callable[[], Export]
    show: Callable[[Path, bool], None]


def _attack(folder: Path, against: list[Path], accept: list[str] | None) -> Kept:
    from audit.summary import show_judged
    from reports.export import of_run
    from reports.html import write_judged
    from reports.judged import Judged
    from reports.run import Run

    judged = Judged.read(folder, [Run.read(other) for other in against], accept)
    return Kept(
        lambda: write_judged(judged), lambda: of_run(judged), lambda page, as_json: show_judged(judged, page, as_json)
    )


def _compare(folder: Path) -> Kept:
    from reports.compare import Comparison, write_comparison
    from reports.export import of_comparison

    return _shown(lambda: write_comparison(folder), of_comparison(Comparison.read(folder)), "page")


def _sweep(folder: Path) -> Kept:
    from reports.export import of_sweep
    from reports.sweep import Sweep, write_sweep

    return _shown(lambda: write_sweep(folder), of_sweep(Sweep.read(folder)))


def _search(folder: Path) -> Kept:
    from audit.pareto.outcome import Outcome
    from audit.pareto.report import export, write_report

    outcome = Outcome.read(folder)
    return _shown(lambda: write_report(outcome), export(outcome))


def _shown(page: Callable[[], Path], export: Export, name: str = "report") -> Kept:
    from audit.showing import show

    return Kept(page, lambda: export, lambda path, as_json: show(export, as_json, {name: path}))


READERS: dict[str, Callable[[Path], Kept]] = {"compare": _compare, "sweep": _sweep, "search": _search}


def _kind(folder: Path) -> str:
    """What a folder holds; an attack's run where it holds nothing, which reading it then says."""
    return next((name for name, kind in KINDS.items() if (folder / kind.settings).is_file()), "attack")


def _give(text: str, to: Path | None) -> None:
    if to is None:
        print(text, end="")
    else:
        write(to, text)
