"""``atm attack`` and ``atm demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from audit.commands.report import summarise
from audit.options import (
    Classes,
    Force,
    Head,
    ImageSize,
    Json,
    Mean,
    Resume,
    Seed,
    Std,
    Victim,
    Weights,
    console,
)


def demo(
    out_folder: Annotated[Path, typer.Option("--out", help="Run folder to write.")] = Path("runs/demo"),
    resume: Resume = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Attack three merging policies of the embedded victim with every attack there is, and write a report.

    A first look: about 100 seconds for each policy, more where the machine is busy.
    """
    from audit.setting import AttackConfig

    _attack(AttackConfig(quick=True, budget=100.0), out_folder, resume, force, as_json)


def attack(
    policy: Annotated[
        list[str] | None, typer.Option(help="Policy preset, uniform-T, tome-R or YAML file; repeatable.")
    ] = None,
    attack: Annotated[
        list[str] | None, typer.Option(help="Attack to run; repeatable; default: standard, all permitted ones.")
    ] = None,
    victim: Victim = "vit_photos",
    weights: Weights = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    head: Head = None,
    classes: Classes = None,
    codec: Annotated[
        str, typer.Option(help="auto, jscc, uncoded, digital:SNR or a .safetensors file; auto:16 for another rate.")
    ] = "auto",
    data: Annotated[
        str, typer.Option(help="photos, a folder or tar of class folders, torch/cifar10, hfds/...")
    ] = "photos",
    auxiliary_data: Annotated[str | None, typer.Option(help="The adversary's own pictures; default: --data.")] = None,
    channel: Annotated[str, typer.Option(help="Such as awgn:10 or rayleigh:10; see atm list channels.")] = "awgn:10",
    defense: Annotated[
        str | None, typer.Option(help="What the device does to its tokens, such as drop:0.5+gaussian:0.2.")
    ] = None,
    threat: Annotated[str, typer.Option(help="server, eavesdropper, eavesdropper:CHANNEL or a YAML file.")] = "server",
    images: Annotated[int, typer.Option(help="Pictures to attack; no verdict of privacy below 100.")] = 100,
    auxiliary: Annotated[int, typer.Option(help="The adversary's own pictures, at most.")] = 4000,
    repeats: Annotated[
        int, typer.Option(help="Fits and sendings of everything, each with other seeds and channel draws.")
    ] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="Few steps for every attack: a first look.")] = False,
    budget: Annotated[
        float,
        typer.Option(help="Seconds per policy, shared by the attacks; a report says what it cut; 0 sets no limit."),
    ] = 600.0,
    replay: Annotated[
        str | None, typer.Option(help="Run whose numbers of steps are taken again, whatever the machine and --budget.")
    ] = None,
    seed: Seed = 0,
    out_folder: Annotated[Path, typer.Option("--out", help="Run folder to write.")] = Path("runs/attack"),
    resume: Resume = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Run inversion attacks on merging policies, and write a run folder with its report."""
    from audit.setting import AttackConfig

    config = AttackConfig(
        policies=tuple(policy or AttackConfig.policies),
        attacks=tuple(attack or ()),
        victim=victim, weights=weights, image_size=image_size,
        mean=tuple(mean or ()), std=tuple(std or ()), head=head, classes=classes,
        codec=codec, data=data, auxiliary_data=auxiliary_data, channel=channel, defense=defense, threat=threat,
        images=images, auxiliary=auxiliary, quick=quick, seed=seed, repeats=repeats,
        budget=budget or None, replay=replay,
    )  # fmt: skip
    _attack(config, out_folder, resume, force, as_json)


def _attack(config: Any, folder: Path, resume: bool, force: bool, as_json: bool) -> None:
    from audit.evaluate import attack as run_attack

    with console.status("loading") as status:

        def say(line: str) -> None:
            if line.startswith(("skipped", "pictures:")):
                console.print(f"[yellow]{escape(line)}[/]")
            status.update(escape(line))

        run = run_attack(config, folder, resume=resume, force=force, say=say)
    summarise(run, folder / "report.html", as_json)
