"""``atm compare``."""

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


def compare(
    policy: Annotated[list[str] | None, typer.Option(help="Merging policy; repeatable.")] = None,
    defense: Annotated[
        list[str] | None, typer.Option(help="Further defence of unmerged tokens, such as quantize:4; repeatable.")
    ] = None,
    attack: Annotated[list[str] | None, typer.Option(help="Attack to run; default: ridge and decoder.")] = None,
    victim: Victim = "vit_photos",
    weights: Weights = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    head: Head = None,
    classes: Classes = None,
    codec: Annotated[str, typer.Option(help="auto, uncoded or a .safetensors file.")] = "auto",
    data: Annotated[str, typer.Option(help="See atm list data.")] = "photos",
    channel: Annotated[str, typer.Option(help="See atm list channels.")] = "awgn:10",
    threat: Annotated[str, typer.Option(help="See atm list threats.")] = "server",
    images: Annotated[int, typer.Option(help="Pictures to attack; no claim below 100.")] = 100,
    auxiliary: Annotated[int, typer.Option(help="The adversary's own pictures, at most.")] = 2000,
    seed: Seed = 0,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder to write.")] = Path("runs/compare"),
    resume: Resume = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Compare merging with other defences, with dropping of its bandwidth and with noise of its accuracy."""
    from audit.compare import CompareConfig
    from audit.compare import compare as run_compare

    config = CompareConfig(
        policies=tuple(policy or CompareConfig.policies), defenses=tuple(defense or ()),
        attacks=tuple(attack or CompareConfig.attacks), victim=victim, weights=weights,
        image_size=image_size, mean=tuple(mean or ()), std=tuple(std or ()), head=head, classes=classes,
        codec=codec, data=data, channel=channel, threat=threat, images=images, auxiliary=auxiliary, seed=seed,
    )  # fmt: skip
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
