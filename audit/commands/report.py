"""``atm report``, and what is printed of a run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from audit.options import Json, out


def report(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    against: Annotated[
        list[Path] | None,
        typer.Option(help="Run to hold it against: another adversary, SNR, seed or budget; repeatable."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the report of a run anew, and print its summary."""
    from reports.html import write_report
    from reports.run import Run

    others = tuple(Run.read(other) for other in against or ())
    path = write_report(run, others)
    summarise(Run.read(run), path, as_json, others)


def summarise(run: Any, page: Path, as_json: bool, against: tuple[Any, ...] = ()) -> None:
    """Print the verdicts of a run whose report is ``page``, held against others."""
    from reports.html import show
    from reports.verdict import verdicts

    judged = verdicts(run, against)
    if as_json:
        print(json.dumps({"report": str(page), "policies": [_summary(run, v) for v in judged]}, allow_nan=False))
        return
    table = Table(title=f"Leakage of {run.about['victim']['name']} on {run.about['data']['name']}")
    for heading in (
        "policy",
        run.about["task"] or "no task",
        "GFLOPs",
        "tokens",
        "leakage (SSIM)",
        "recognisable",
        "verdict",
    ):
        table.add_column(heading)
    for v in judged:
        mean = {c: float(run.per_image(v.policy, c).mean()) for c in ("correct", "gflops", "tokens")}
        table.add_row(
            escape(v.policy), f"{mean['correct']:.1%}" if run.about["task"] else "–",
            f"{mean['gflops']:.3f}", f"{mean['tokens']:.1f}",
            show(v.leakage, 3), show(v.recognisable, 0, True), v.level,
        )  # fmt: skip
    out.print(table)
    for v in judged:
        out.print(f"[bold]{escape(v.policy)}[/]: {v.level}")
        for finding in v.findings:
            out.print(f"  {finding.about}, {finding.level}: {escape(finding.sentence)}")
        for flag in v.flags:
            out.print(f"  [yellow]flag[/] {escape(str(flag))}")
    for note in run.about["notes"]:
        out.print(f"[yellow]note[/]: {escape(note)}")
    out.print(f"report: {page}", soft_wrap=True)


def _seconds(run: Any, policy: str) -> Any:
    table = run.seconds[run.seconds.policy == policy]
    return (table["fit"] + table["reconstruct"]).groupby(table["attack"])


def _summary(run: Any, verdict: Any) -> dict[str, Any]:
    def plain(interval: Any) -> dict[str, float | None]:
        values = {"estimate": interval.estimate, "low": interval.low, "high": interval.high}
        return {k: v if math.isfinite(v) else None for k, v in values.items()}

    return {
        "policy": verdict.policy,
        "verdict": verdict.level,
        "findings": [
            {"about": f.about, "level": f.level, "sentence": f.sentence, "chance": f.chance, **plain(f.rate)}
            for f in verdict.findings
        ],
        "flags": [{"name": flag.name, "found": flag.found} for flag in verdict.flags],
        "leakage": plain(verdict.leakage),
        "percentile_95": plain(verdict.tail),
        "maximum": plain(verdict.highest),
        "recognisable": plain(verdict.recognisable),
        **{
            c: None if c == "correct" and run.about["task"] is None else float(run.per_image(verdict.policy, c).mean())
            for c in ("correct", "gflops", "tokens", "symbols")
        },
        "bandwidth_ratio": run.bandwidth_ratio(verdict.policy),
        "ssim": {a: float(run.values(verdict.policy, a, "ssim").mean()) for a in run.attacks},
        "seconds": {a: round(float(s.sum()), 1) for a, s in _seconds(run, verdict.policy)},
    }
