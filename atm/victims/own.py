"""Victims that this project ships, and files that ``atm train victim`` wrote."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from timm.layers import PatchEmbed
from timm.models.vision_transformer import VisionTransformer

from atm.encoder import first_kernel
from atm.errors import AtmError, unknown
from atm.signals.spectrogram import RECIPES
from atm.stem import ConvStem, FrameStem
from atm.victims.loaded import Loaded
from atm.weight_files import file_digest, load_state, read_weights

SHIPPED = Path(str(files("atm"))) / "weights"
STEMS: dict[str, type[PatchEmbed]] = {"patch": PatchEmbed, "conv": ConvStem, "frames": FrameStem}


def victims() -> list[str]:
    """Names of the shipped victims."""
    return sorted(path.stem for path in SHIPPED.glob("vit_*.safetensors"))


def build_vit(architecture: Mapping[str, Any]) -> VisionTransformer:
    """Timm's ``VisionTransformer`` from keyword arguments; ``stem`` is a name of `STEMS`."""
    options = dict(architecture)
    stem = options.pop("stem", "patch")
    if stem not in STEMS:
        raise unknown("stem", str(stem), STEMS)
    return VisionTransformer(**options, embed_layer=STEMS[stem])


def load(path: Path, otherwise: str = "") -> Loaded:
    """The victim in a file of ours.

    Args:
        path: of the file.
        otherwise: what to do where it holds something else, the end of the message.

    Raises:
        AtmError: the file is missing, damaged, or no victim of this project.
    """
    description, state = read_weights(path, "victim", otherwise)
    try:
        vit = build_vit(description["architecture"])
        mean, std = (_numbers(description[name]) for name in ("mean", "std"))
        classes = tuple(str(name) for name in description["classes"])
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RuntimeError, AssertionError):
        raise AtmError(f"{path} describes no victim of this version; write one with 'atm train victim'") from None
    load_state(vit, state, path)
    recipe = str(description.get("spectrogram", ""))
    if recipe and (recipe not in RECIPES or first_kernel(vit.patch_embed).shape[1] != 1):
        raise AtmError(
            f"{path} takes no spectrogram {recipe!r} of this version; write a victim with 'atm train victim'"
        )
    return Loaded(vit, mean, std, description, classes, digest=file_digest(path), spectrogram=recipe)


def _numbers(described: Any) -> tuple[float, ...]:
    """One for each channel; raises ``TypeError`` or ``ValueError`` where these are none."""
    if not isinstance(described, list) or not described:
        raise TypeError("a list of numbers is wanted")
    return tuple(float(number) for number in described)
