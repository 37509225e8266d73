"""``atm compare``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from audit.configs import CompareConfig
from audit.options import Force, Json, Resume, asks, console, out


@asks(CompareConfig)
def compare(
    config: CompareConfig,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("runs/compare"),
    resume: Resume = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Compare merging with other defences, with dropping of its bandwidth and with noise of its accuracy."""
    from audit.compare import compare as run_compare

    with console.status("loading") as status:
        made = run_compare(config, out_folder, resume=resume, force=force, say=lambda line: status.update(escape(line)))
    table = made.table()
    if as_json:
        pairs = [{"merging": p.policy, "other": p.other, "sentence": p.sentence} for p in made.pairs()]
        print(json.dumps({"points": json.loads(table.to_json(orient="records")), "pairs": pairs}))
        return
    shown = Table(title="Price of privacy")
    for heading in ("system", "defence", str(made.about["task"]), "GFLOPs", "tokens", "symbols", "leakage (SSIM)"):
        shown.add_column(heading)
    for _, row in table.iterrows():
        shown.add_row(
            escape(str(row["name"])), escape(row.defence or "–"), f"{row.correct:.1%}", f"{row.gflops:.3f}",
            f"{row.tokens:.1f}", f"{row.symbols:.0f}",
            f"{row.leakage:.3f} [{row.leakage_low:.3f}, {row.leakage_high:.3f}]",
        )  # fmt: skip
    out.print(shown)
    for pair in made.pairs():
        out.print(escape(pair.sentence))
    out.print(f"page: {out_folder / 'compare.html'}", soft_wrap=True)
