"""``atm export``: the device's part of a link, for machines that have no Python."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audit.options import Classes, Codec, Head, ImageSize, Mean, Std, Victim, Weights, configured, out
from audit.progress import loading


def export(
    context: typer.Context,
    policy: Annotated[str, typer.Option(help="Policy preset, uniform-T, tome-R or YAML file.")] = "moderate",
    victim: Victim = "vit_photos",
    weights: Weights = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    head: Head = None,
    classes: Classes = None,
    codec: Codec = "auto",
    channel: Annotated[str, typer.Option(help="Whose SNR the codec is told, such as awgn:10.")] = "awgn:10",
    out_file: Annotated[Path, typer.Option("--out", help="ONNX file to write.")] = Path("device.onnx"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> None:
    """Write encoder and codec as an ONNX graph from a picture to symbols."""
    with loading():
        from atm.store import write
        from audit.exporting import as_onnx
        from audit.live.system import LiveConfig, resolve
        from audit.making import refuse_to_replace
        from audit.showing import foreign

    refuse_to_replace(out_file, force, ".onnx")
    config = configured(context, LiveConfig, None, policies=(policy,), device="cpu")
    (mode,) = resolve(config, sends=False).modes
    write(out_file, as_onnx(mode))
    out.print(f"wrote {foreign(out_file)}", soft_wrap=True)
