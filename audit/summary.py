"""What ``atm attack`` and ``atm report`` print of a run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from rich.markup import escape

from audit.options import out
from audit.showing import show_table
from privacy_metrics import METRICS
from privacy_metrics.statistics import Interval
from reports.judged import Judged
from reports.measure import NO_TASK
from reports.numbers import NO_NUMBER, show
from reports.placers import handed, sentences
from reports.run import Run
from reports.verdict import Verdict


def show_judged(judged: Judged, report: Path, as_json: bool) -> None:
    """Print what a run says about each policy: as a table and sentences, or as one JSON object.

    Args:
        judged: the run.
        report: its page.
        as_json: whether a machine reads it.
    """
    run, found, decisions = judged.run, judged.verdicts, judged.decisions
    if as_json:
        policies = [
            {**_summary(run, v), "deploy": d.answer, "because": d.reason} for v, d in zip(found, decisions, strict=True)
        ]
        print(json.dumps({"report": str(report), "policies": policies}, allow_nan=False))
        return
    task = run.about["task"]
    leakage = f"leakage ({run.measured})"
    headings = ["policy", *([task] if task else []), "GFLOPs", "tokens", leakage, "blind", "recognised", "deploy?",
                "verdict"]  # fmt: skip
    rows = []
    for v, decision in zip(found, decisions, strict=True):
        mean = {c: float(run.per_image(v.policy, c).mean()) for c in ("correct", "gflops", "tokens")}
        rows.append([
            v.policy, *([f"{mean['correct']:.1%}"] if task else []), f"{mean['gflops']:.3f}", f"{mean['tokens']:.1f}",
            show(v.leakage, 3), NO_NUMBER if v.blind is None else f"{v.blind:.3f}", show(v.recognisable, 0, True),
            decision.answer, v.level,
        ])  # fmt: skip
    show_table(f"Leakage of {run.about['victim']['name']} on {run.about['data']['name']}", headings, rows)
    out.print(f"[dim]blind: what is reached without the tokens{'' if task else f'; {NO_TASK}'}[/]")
    for v in found:
        out.print(f"[bold]{escape(v.policy)}[/]: {v.level}")
        for finding in v.findings:
            out.print(f"  {finding.about}, {finding.level}: {escape(finding.sentence)}")
        for flag in v.flags:
            out.print(f"  [yellow]flag[/] {escape(str(flag))}")
    for line in sentences(run):
        out.print(escape(line))
    out.print(f"[bold]{escape(judged.advice)}[/]")
    elsewhere = tuple(metric.label for metric in METRICS.values() if metric.name != run.measure)  # scores of the page
    for note in run.about["notes"]:
        if not note.startswith(elsewhere):
            out.print(f"[yellow]note[/]: {escape(note)}")
    out.print(f"report: {report}", soft_wrap=True)


def _seconds(run: Run, policy: str) -> Any:
    table = run.seconds[run.seconds.policy == policy]
    return (table["fit"] + table["reconstruct"]).groupby(table["attack"])


def _summary(run: Run, verdict: Verdict) -> dict[str, Any]:
    def plain(interval: Interval) -> dict[str, float | None]:
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
        "blind": verdict.blind,
        "percentile_95": plain(verdict.tail),
        "maximum": plain(verdict.highest),
        "recognisable": plain(verdict.recognisable),
        **{
            c: None if c == "correct" and run.about["task"] is None else float(run.per_image(verdict.policy, c).mean())
            for c in ("correct", "gflops", "tokens", "symbols")
        },
        "placer": None if (found := handed(run).get(verdict.policy)) is None else found.as_dict(),
        "bandwidth_ratio": run.bandwidth_ratio(verdict.policy),
        run.measure: {a: float(run.values(verdict.policy, a, run.measure).mean()) for a in run.attacks},
        "seconds": {a: round(float(s.sum()), 1) for a, s in _seconds(run, verdict.policy)},
    }
