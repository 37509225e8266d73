"""The commands ``atm search`` and ``atm pick``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from atm.errors import AtmError
from audit.ending import STOPPED
from audit.options import EXPERIMENTS, Force, Json, Ray, Resume, configured, of_system, out
from audit.progress import Progress, loading


@of_system(before="evals")
def search(
    context: typer.Context,
    evals: Annotated[int, typer.Option(help="Policies to evaluate.")] = 64,
    objectives: Annotated[
        list[str] | None,
        typer.Option(
            help="Several names: accuracy, flops, tokens, leakage, symbols, latency, energy, memory.  "
            "[default: accuracy flops tokens leakage]"
        ),
    ] = None,
    at_least: Annotated[list[str] | None, typer.Option(help="Constraint such as accuracy=0.9; repeatable.")] = None,
    at_most: Annotated[list[str] | None, typer.Option(help="Constraint such as tokens=30; repeatable.")] = None,
    reference: Annotated[
        list[str] | None, typer.Option(help="Reference of the hypervolume, such as accuracy=0.5; repeatable.")
    ] = None,
    score: Annotated[str, typer.Option(help="How leakage is scored during the search: ridge.")] = "ridge",
    images: Annotated[int, typer.Option(help="Pictures to evaluate each policy on.")] = 200,
    auxiliary: Annotated[int, typer.Option(help="The adversary's own pictures for the full suite, at most.")] = 4000,
    lowest: Annotated[float, typer.Option(help="Lowest threshold of any layer.")] = 0.0,
    held_out: Annotated[
        bool, typer.Option("--held-out/--no-held-out", help="Measure the front again on other pictures at the end.")
    ] = True,
    like: Annotated[
        str | None, typer.Option(help="Policy file whose rules all share; only its thresholds are searched.")
    ] = None,
    rescore: Annotated[
        bool, typer.Option("--rescore/--no-rescore", help="Attack the front with the full suite at the end.")
    ] = True,
    rescored_policies: Annotated[int, typer.Option(help="Policies of the front for the full suite, at most.")] = 5,
    budget: Annotated[
        float, typer.Option(help="Seconds of the full suite for each of them, shared by its attacks; 0 sets no limit.")
    ] = 100.0,
    ray: Ray = None,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("runs/search"),
    resume: Resume = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Search policies that are good in several objectives at once, leakage among them."""
    with loading():
        from audit.pareto import SearchConfig
        from audit.pareto import search as run_search
        from audit.pareto.report import export
        from audit.showing import show

    experiment = next((word for word in context.args if Path(word).suffix in EXPERIMENTS), None)
    words = [word for word in context.args if word != experiment]
    if words and not objectives:
        raise AtmError(f"unexpected {' '.join(words)!r}; names of objectives follow --objectives")
    names = " ".join([*(objectives or ()), *words]).replace(",", " ").split()
    config = configured(context, SearchConfig, experiment, objectives=names or SearchConfig.objectives)
    with Progress(kept=lambda line: line.startswith("note") or "failed" in line) as say:
        found = run_search(
            config,
            out_folder,
            resume=resume,
            force=force,
            held_out=held_out,
            rescore=rescored_policies if rescore else 0,
            budget=budget or None,
            ray=ray,
            say=say,
        )
    show(export(found), as_json, {"csv": found.folder / "front.csv", "report": found.folder / "report.html"})
    if found.stopped:
        raise typer.Exit(STOPPED)


def pick(
    run: Annotated[Path, typer.Argument(help="Folder of a search.")],
    at_least: Annotated[list[str] | None, typer.Option(help="Constraint such as accuracy=0.9; repeatable.")] = None,
    at_most: Annotated[list[str] | None, typer.Option(help="Constraint such as tokens=30; repeatable.")] = None,
    minimize: Annotated[str | None, typer.Option(help="What is to be least.")] = None,
    maximize: Annotated[str | None, typer.Option(help="What is to be most.")] = None,
    as_json: Json = False,
) -> None:
    """The policy of a search that is best for one's own constraints, as a file for atm attack --policy."""
    with loading():
        from audit.pareto.pick import pick_policy
        from reports.numbers import plain

    picked = pick_policy(run, at_least or (), at_most or (), minimize, maximize)
    trial, path = picked.trial, picked.path
    if as_json:
        content = {"policy": str(path), "thresholds": list(trial.thresholds), "notes": picked.notes,
                   "decided": picked.decided, **picked.values}  # fmt: skip
        print(json.dumps(content))
        return
    shown = ", ".join(f"{name} {plain(value, 4)}" for name, value in picked.values.items())
    out.print(f"{trial.name}: {shown}; decided by {picked.decided}", soft_wrap=True)
    for note in picked.notes:
        out.print(f"note: {note}", soft_wrap=True)
    out.print(f"thresholds: {' '.join(f'{t:.3f}' for t in trial.thresholds)}", soft_wrap=True)
    out.print(f"policy: {path}", soft_wrap=True)
