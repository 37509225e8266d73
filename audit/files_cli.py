"""``atm calibrate`` and ``atm convert``: files that no training makes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from audit.making import Replace, given_victim, refuse_to_replace, victim_of
from audit.next_step import next_step
from audit.options import Device, ImageSize, LabelBy, Mean, Seed, Std, Victim, Weights, out
from audit.progress import loading


def calibrate(
    saves: Annotated[float, typer.Argument(min=0, max=0.99, help="Part of the encoder's FLOPs to save, such as 0.3.")],
    victim: Victim = "vit_photos",
    weights: Weights = None,
    image_size: ImageSize = None,
    mean: Mean = None,
    std: Std = None,
    data: Annotated[str, typer.Option(help="Pictures whose tokens are compared; of their training split.")] = "photos",
    label_by: LabelBy = None,
    images: Annotated[int, typer.Option(min=1, help="So many of them.")] = 64,
    exit_layer: Annotated[
        int | None, typer.Option(help="Layer after which the tokens leave the device; default: the last.")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    out_file: Annotated[Path, typer.Option("--out", help="YAML file to write, for --policy.")] = Path("policy.yaml"),
    force: Replace = False,
) -> None:
    """Choose a victim's merging policy by what it saves: the presets fit only the victims that they were made for."""
    with loading():
        from audit.train import policy

    refuse_to_replace(out_file, force, ".yaml")
    target, _ = victim_of(victim, weights, image_size, mean, std, device)
    found = policy(target, data, saves, images, exit_layer, seed, label_by)
    found.write(out_file)
    thresholds = " ".join(f"{threshold:.3f}" for threshold in found.thresholds)
    out.print(escape(f"{out_file}: {found.name}, thresholds {thresholds}"), soft_wrap=True)
    given = given_victim(victim, weights, image_size, mean, std, label_by)
    next_step(**given, data=[data], policy=["none", out_file])


def convert(
    source: Annotated[Path, typer.Argument(help="PyTorch file with a state dict.")],
    target: Annotated[Path, typer.Argument(help="Safetensors file to write.")],
    force: Replace = False,
) -> None:
    """Turn a pickled state dict into safetensors, for --weights; nothing but tensors is read from the pickle."""
    with loading():
        from atm.victims.pickles import convert as convert_pickle

    refuse_to_replace(target, force)
    out.print(escape(convert_pickle(source, target)), soft_wrap=True)
    next_step(victim=["TIMM_NAME"], weights=[target])
