"""``atm attack`` and ``atm demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from audit.commands.report import summarise
from audit.configs import AttackConfig
from audit.options import Force, Json, Resume, asks, console


def demo(
    out_folder: Annotated[Path, typer.Option("--out", help="Run folder to write.")] = Path("runs/demo"),
    resume: Resume = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Attack three merging policies of the embedded victim with every attack there is, and write a report.

    A first look: about 100 seconds for each policy, more where the machine is busy.
    """
    _attack(AttackConfig(quick=True, budget=100.0), out_folder, resume, force, as_json)


@asks(AttackConfig)
def attack(
    config: AttackConfig,
    out_folder: Annotated[Path, typer.Option("--out", help="Run folder to write.")] = Path("runs/attack"),
    resume: Resume = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Run inversion attacks on merging policies, and write a run folder with its report."""
    _attack(config, out_folder, resume, force, as_json)


def _attack(config: AttackConfig, folder: Path, resume: bool, force: bool, as_json: bool) -> None:
    from audit.evaluate import attack as run_attack

    with console.status("loading") as status:

        def say(line: str) -> None:
            if line.startswith(("skipped", "pictures:")):
                console.print(f"[yellow]{escape(line)}[/]")
            status.update(escape(line))

        run = run_attack(config, folder, resume=resume, force=force, say=say)
    summarise(run, folder / "report.html", as_json)
