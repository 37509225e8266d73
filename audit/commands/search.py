"""``atm search`` and ``atm pick``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from audit.options import Force, Json, Resume, asks, console, out
from audit.search.config import SearchConfig


@asks(SearchConfig, words="objectives")
def search(
    config: SearchConfig,
    rescore: Annotated[
        bool, typer.Option("--rescore/--no-rescore", help="Attack the front with the full suite at the end.")
    ] = True,
    rescored_policies: Annotated[int, typer.Option(help="Policies of the front for the full suite, at most.")] = 5,
    budget: Annotated[
        float, typer.Option(help="Seconds of the full suite for each of them, shared by its attacks; 0 sets no limit.")
    ] = 100.0,
    ray: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster that shares the work, auto, or local.")
    ] = None,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("runs/search"),
    resume: Resume = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Search policies that are good in several objectives at once, leakage among them."""
    from audit.search import search as run_search

    with console.status("loading") as status:

        def say(line: str) -> None:
            if line.startswith("note") or "failed" in line:
                console.print(f"[yellow]{escape(line)}[/]")
            status.update(escape(line))

        found = run_search(
            config,
            out_folder,
            resume=resume,
            force=force,
            rescore=rescored_policies if rescore else 0,
            budget=budget or None,
            ray=ray,
            say=say,
        )
    _show_search(found, as_json)
    if found.stopped:
        console.print("stopped; go on with --resume")
        raise typer.Exit(130)


def pick(
    run: Annotated[Path, typer.Argument(help="Folder of a search.")],
    at_least: Annotated[list[str] | None, typer.Option(help="Constraint such as accuracy=0.9; repeatable.")] = None,
    at_most: Annotated[list[str] | None, typer.Option(help="Constraint such as tokens=30; repeatable.")] = None,
    minimize: Annotated[str | None, typer.Option(help="What is to be least.")] = None,
    maximize: Annotated[str | None, typer.Option(help="What is to be most.")] = None,
    as_json: Json = False,
) -> None:
    """The policy of a search that is best for one's own constraints, as a file for atm attack --policy."""
    from audit.search.pick import pick_policy

    trial, path = pick_policy(run, at_least or (), at_most or (), minimize, maximize)
    if as_json:
        print(json.dumps({"policy": str(path), "thresholds": list(trial.thresholds), **trial.values}))
        return
    shown = ", ".join(f"{name} {value:.4g}" for name, value in trial.values.items())
    out.print(f"{trial.name}: {shown}", soft_wrap=True)
    out.print(f"thresholds: {' '.join(f'{t:.3f}' for t in trial.thresholds)}", soft_wrap=True)
    out.print(f"policy: {path}", soft_wrap=True)


def _show_search(found: Any, as_json: bool) -> None:
    if as_json:
        front = [{"policy": trial.name, "thresholds": list(trial.thresholds), **trial.values} for trial in found.front]
        full = {name: dict(zip(("estimate", "low", "high"), v, strict=True)) for name, v in found.full.items()}
        recommended = {r.title: r.trial.name for r in found.recommended()}
        summary = {"out": str(found.folder), "front": front, "recommended": recommended, "full_suite": full}
        print(json.dumps({**summary, "hypervolume": found.volumes[-1:], "notes": found.warnings}))
        return
    table = Table(title=f"Pareto front: {len(found.front)} of {len(found.trials)} policies")
    headings = [o.heading for o in found.measured] + (["leakage, full suite"] if found.full else [])
    for heading in ("policy", *headings, "thresholds"):
        table.add_column(heading)
    for trial in found.front:
        numbers = [f"{trial.values[o.name]:.4g}" for o in found.measured]
        if found.full:
            numbers.append(
                "{:.3f} \\[{:.3f}, {:.3f}]".format(*found.full[trial.name]) if trial.name in found.full else ""
            )
        table.add_row(trial.name, *numbers, " ".join(f"{t:.2f}" for t in trial.thresholds))
    out.print(table)
    for r in found.recommended():
        out.print(f"[bold]{r.title}[/]: {r.trial.name}, {r.reason}", soft_wrap=True)
    for line in found.warnings:
        out.print(f"[yellow]note[/]: {escape(line)}", soft_wrap=True)
    out.print(f"front: {found.folder / 'front.csv'}", soft_wrap=True)
    out.print(f"report: {found.folder / 'report.html'}", soft_wrap=True)
