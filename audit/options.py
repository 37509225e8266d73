"""Options that several commands have, and the two streams that all write to."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

console = Console(stderr=True, highlight=False)
out = Console(highlight=False)

Seed = Annotated[int, typer.Option(help="Seed of everything that is random.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Weights = Annotated[str | None, typer.Option(help="Safetensors file with a timm victim's weights.")]
ImageSize = Annotated[str | None, typer.Option(help="224, or height and width as 224x160; default: the weights'.")]
Mean = Annotated[list[float] | None, typer.Option(help="Of the input's normalisation; one for each channel.")]
Std = Annotated[list[float] | None, typer.Option(help="Likewise, its deviation.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the run in --out.")]
