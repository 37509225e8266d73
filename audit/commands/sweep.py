"""``atm sweep``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from audit.configs import SweepConfig
from audit.options import Force, Json, Resume, asks, console, out


@asks(SweepConfig)
def sweep(
    config: SweepConfig,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("runs/sweep"),
    resume: Resume = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Measure accuracy and leakage to server and eavesdropper over channels and SNRs, and draw them."""
    from audit.sweep import sweep as run_sweep
    from reports.sweep import Sweep, sentences

    with console.status("loading") as status:
        page = run_sweep(config, out_folder, resume=resume, force=force, say=lambda line: status.update(escape(line)))
    done = Sweep.read(out_folder)
    if as_json:
        points = json.loads(done.table.to_json(orient="records"))
        print(json.dumps({"report": str(page), "points": points, "findings": sentences(done)}, allow_nan=False))
        return
    table = Table(title=f"{done.about['victim']['name']} on {done.about['data']['name']}")
    for heading in ("channel", "SNR", "policy", "accuracy", "leakage to server", "her SNR", "to eavesdropper", "gap"):
        table.add_column(heading)
    for row in done.summary():
        table.add_row(*[escape(word) for word in row])
    out.print(table)
    for line in sentences(done):
        out.print(escape(line))
    out.print(f"report: {page}", soft_wrap=True)
