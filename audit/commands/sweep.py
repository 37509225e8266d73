"""``atm sweep``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

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
    out,
)


def sweep(
    snr: Annotated[str, typer.Option(help="SNRs of the link in dB: FIRST:LAST:STEP or a list 0,5,10.")] = "0:20:5",
    channel: Annotated[
        list[str] | None, typer.Option(help="Channel without its SNR, such as awgn or rician,k=3; repeatable.")
    ] = None,
    eavesdropper_snr: Annotated[
        str | None, typer.Option(help="Her SNRs in dB, written as --snr; default: the link's at every point.")
    ] = None,
    eavesdropper_channel: Annotated[
        str | None, typer.Option(help="Her channel without its SNR; default: the link's kind.")
    ] = None,
    policy: Annotated[
        list[str] | None, typer.Option(help="Policy preset, uniform-T, tome-R or YAML file; repeatable.")
    ] = None,
    attack: Annotated[list[str] | None, typer.Option(help="Trained anew at each point; repeatable.")] = None,
    victim: Victim = "vit_photos",
    weights: Weights = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    head: Head = None,
    classes: Classes = None,
    codec: Annotated[
        list[str] | None, typer.Option(help="auto, uncoded, digital:SNR or a .safetensors file; repeatable.")
    ] = None,
    data: Annotated[str, typer.Option(help="See atm list data.")] = "photos",
    auxiliary_data: Annotated[str | None, typer.Option(help="The adversary's own pictures; default: --data.")] = None,
    threat: Annotated[str, typer.Option(help="What both adversaries know; stranger: not the codec.")] = "eavesdropper",
    images: Annotated[int, typer.Option(help="Pictures to send and attack.")] = 100,
    auxiliary: Annotated[int, typer.Option(help="The adversary's own pictures, at most.")] = 1000,
    seed: Seed = 0,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("runs/sweep"),
    resume: Resume = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Measure accuracy and leakage to server and eavesdropper over channels and SNRs, and draw them."""
    from audit.sweep import SweepConfig, grid
    from audit.sweep import sweep as run_sweep
    from reports.sweep import Sweep, sentences

    config = SweepConfig(
        snr=grid(snr),
        channels=tuple(channel or SweepConfig.channels),
        eavesdropper_snr=grid(eavesdropper_snr) if eavesdropper_snr is not None else (),
        eavesdropper_channel=eavesdropper_channel,
        policies=tuple(policy or SweepConfig.policies),
        attacks=tuple(attack or SweepConfig.attacks),
        victim=victim, weights=weights, image_size=image_size,
        mean=tuple(mean or ()), std=tuple(std or ()), head=head, classes=classes,
        codecs=tuple(codec or SweepConfig.codecs),
        data=data, auxiliary_data=auxiliary_data, threat=threat,
        images=images, auxiliary=auxiliary, seed=seed,
    )  # fmt: skip
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
