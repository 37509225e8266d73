"""Options that several commands have, and the two streams that all write to."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

console = Console(stderr=True, highlight=False)
out = Console(highlight=False)

Seed = Annotated[int, typer.Option(help="Seed of everything that is random.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Victim = Annotated[str, typer.Option(help="Shipped victim, .safetensors file, timm name, folder or hub name.")]
Weights = Annotated[str | None, typer.Option(help="Safetensors file with a timm victim's weights.")]
ImageSize = Annotated[str | None, typer.Option(help="224, or height and width as 224x160; default: the weights'.")]
Mean = Annotated[list[float] | None, typer.Option(help="Of the input's normalisation; one for each channel.")]
Std = Annotated[list[float] | None, typer.Option(help="Likewise, its deviation.")]
Head = Annotated[
    str | None,
    typer.Option(help="Task head: a file of atm train head, or probe to fit one to --data's training pictures."),
]
Classes = Annotated[str | None, typer.Option(help="Text file with the names of the logits, one a line.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the run in --out.")]
