"""``atm selfcheck``: the evaluator evaluated, as a command."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from audit.options import Seed, out
from audit.progress import Progress, loading


def selfcheck(
    full: Annotated[
        bool, typer.Option("--full", help="More pictures and repeats: minutes instead of seconds.")
    ] = False,
    null: Annotated[
        int, typer.Option(min=0, help="Judge only the systems that leak nothing, each with so many seeds.")
    ] = 0,
    seed: Seed = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line on standard output.")] = False,
) -> None:
    """Judge planted systems whose right verdict is known; exit code 1 if the evaluator is wrong about any."""
    with loading():
        from audit.selfcheck import selfcheck as judge_all

    if null:
        _false_alarms(null, as_json)
        return
    table = Table(title="Planted systems")
    for heading in ("system", "expected", "verdict", "why"):
        table.add_column(heading)
    wrong = total = 0
    with Progress() as say:
        for judged in judge_all(full=full, seed=seed, say=say):
            total, wrong = total + 1, wrong + (not judged.right)
            if as_json:
                fields = {"system": judged.system, "expected": judged.expected, "verdict": judged.verdict}
                print(json.dumps({**fields, "right": judged.right, "why": judged.why}), flush=True)
            colour = "green" if judged.right else "red"
            table.add_row(judged.system, judged.expected, f"[{colour}]{judged.verdict}[/]", escape(judged.why))
    if not as_json:
        out.print(table)
        out.print(f"right about {total - wrong} of {total} systems")
    if wrong:
        raise typer.Exit(1)


def _false_alarms(seeds: int, as_json: bool) -> None:
    with loading():
        from audit.selfcheck import false_alarms
        from reports.numbers import show

    with Progress() as say:
        found = false_alarms(seeds, say=say)
    table = Table(title=f"Systems that leak nothing, {seeds} seeds each: at most 5% may be called leaks")
    for heading in ("system", "called a leak", "p, corrected", "maximum over attacks, bias in SSIM"):
        table.add_column(heading)
    for row in found:
        alarms = round(row.alarms.estimate * seeds)
        if as_json:
            print(json.dumps({"system": row.system, "alarms": alarms, "seeds": seeds, "bias": round(row.bias, 4)}))
        colour = "green" if row.right else "red"
        rate = f"[{colour}]{alarms} of {seeds}[/], {escape(show(row.alarms, 0, True))}"
        table.add_row(row.system, rate, f"{row.p_value:.3f}", f"{row.bias:+.3f}")
    if not as_json:
        out.print(table)
    if not all(row.right for row in found):
        raise typer.Exit(1)
