"""Victims by timm's names, with timm's weights or the user's."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import timm
import torch
from pydantic import Field, FiniteFloat
from timm.data import infer_imagenet_subset
from torch import Tensor, nn

from atm import families
from atm.documents import F, Fields, typed
from atm.errors import AtmError, one_line, resembling, unknown
from atm.victims.classes import imagenet_classes
from atm.victims.hub import Repository, hub
from atm.victims.loaded import Loaded, Size, check_size
from atm.victims.own import victims
from atm.victims.state import PATCHES, State, read_state, tidied
from atm.weight_files import load_state

HEAD = "head.weight"
# What timm's factory takes beside a model's own arguments; a description that gives these asks for other weights.
FACTORYS = {"name", "model_name", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path",
            "cache_dir", "scriptable", "exportable", "no_jit", "features_only"}  # fmt: skip
PREFIX_OFFSETS = 3  # rows at the end of a table of offsets: class token to patch, patch to it, and it to itself

Names = list[str | int]
Mean = Annotated[list[FiniteFloat], Field(min_length=1)]
Std = Annotated[list[Annotated[FiniteFloat, Field(gt=1e-6)]], Field(min_length=1)]


class _Description(Fields):
    """What a repository's ``config.json`` in timm's format says that is used here; older ones say all at the top."""

    architecture: str
    model_args: dict[str, Any] | None = None
    pretrained_cfg: dict[str, Any] | None = None
    label_names: Names | None = None


class _Pretrained(Fields):
    """What ``pretrained_cfg`` says that is used here."""

    mean: Mean | None = None
    std: Std | None = None
    label_names: Names | None = None
    labels: Names | None = None


def load(name: str, weights: str | Path | None, size: Size | None) -> Loaded:
    """A victim by timm's name.

    Args:
        name: architecture, with or without the tag of its weights.
        weights: a safetensors file with a state dict; None fetches timm's pretrained weights.
        size: height and width of the images; None takes what the weights were made for.

    Raises:
        AtmError: no such model, one that the encoder cannot run (before anything is fetched), or weights that are not
            its own.
    """
    blank = _blank(name)
    if weights is not None:
        return _filled(name, blank, read_state(Path(weights)), Path(weights).name, size)
    options: dict[str, Any] = {} if size is None else {"img_size": size}
    check_size(size, blank.patch_embed.patch_size)
    with hub(f"timm's pretrained weights of {name!r}; give --weights FILE.safetensors instead: they"):
        model = timm.create_model(name, pretrained=True, **options)
    return _loaded(name, model, "timm")


def depth_of(name: str) -> int:
    """Layers of a timm model. Raises `AtmError` where there is none of that name, or none that the encoder can run."""
    return len(_blank(name).blocks)


def from_repository(repository: Repository, config: Mapping[str, Any], size: Size | None) -> Loaded:
    """A victim from a folder or hub repository in timm's format.

    Args:
        repository: where its weights are.
        config: its ``config.json``.
        size: see `load`.

    Raises:
        AtmError: see `load`.
    """
    about = _part(_Description, config, repository.name)
    pretrained = _part(_Pretrained, about.pretrained_cfg or config, f"{repository.name}: pretrained_cfg")
    if not timm.is_model(about.architecture):
        raise unknown("timm model", about.architecture, timm.list_models())
    arguments = about.model_args or {}
    if others := sorted(FACTORYS & arguments.keys()):
        raise AtmError(f"{repository.name}: model_args has {others[0]!r}, which is no argument of a model")
    overlay = {name: tuple(numbers) for name in ("mean", "std") if (numbers := getattr(pretrained, name)) is not None}
    blank = _blank(about.architecture, arguments)
    state = tidied(repository.tensors(), repository.name)
    made = _filled(about.architecture, blank, state, repository.name, size, arguments, overlay)
    names = about.label_names or pretrained.label_names or pretrained.labels
    if names and len(names) != int(made.model.num_classes):
        raise AtmError(f"{repository.name} names {len(names)} classes, and its weights have {made.model.num_classes}")
    return replace(made, classes=tuple(map(str, names))) if names else made


def _part(model: type[F], content: Mapping[str, Any], where: str) -> F:
    """The fields that are used here, of a description that says more."""
    return typed(model, {name: value for name, value in content.items() if name in model.model_fields}, where)


def no_victim(name: str) -> AtmError:
    """The error for a name that no victim has: what is shipped, where all stands, and what is nearly written so."""
    shipped = victims()
    meant = resembling(name, [*shipped, *timm.list_models()])
    there = f"shipped are {' and '.join(shipped)}, and atm list victims says what else can be named"
    return AtmError(f"unknown victim {name!r}: {there}" + (f"; {meant}" if meant else ""))


def _blank(name: str, arguments: Mapping[str, Any] | None = None) -> Any:
    """The model without memory for its weights, found to be supported."""
    if not timm.is_model(name):
        raise no_victim(name)
    try:
        with torch.device("meta"):
            blank = timm.create_model(name, pretrained=False, **(arguments or {}))
    except Exception as error:  # a description may ask for anything
        raise AtmError(f"victim {name!r} cannot be made by timm: {one_line(error)}") from None
    families.check(blank)
    return blank


def _filled(
    name: str,
    blank: Any,
    state: State,
    source: str,
    size: Size | None,
    arguments: Mapping[str, Any] | None = None,
    overlay: Mapping[str, Any] | None = None,
) -> Loaded:
    """The model in the shape that the weights and ``size`` ask for, with the weights in it."""
    tensors = state.tensors
    options = {**(arguments or {}), **_shape(blank, tensors)}
    patch = options.get("patch_size", blank.patch_embed.patch_size)
    patch = (patch, patch) if isinstance(patch, int) else tuple(patch)
    check_size(size, patch)
    made_for = _made_for(blank, tensors, patch, size, source)
    config = {
        **(overlay or {}),
        "state_dict": dict(tensors),
        "num_classes": options["num_classes"],
        "input_size": (options.get("in_chans", 3), *made_for),
        "label_offset": 0,
    }
    options["img_size"] = size or made_for
    try:
        model: Any = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=config, **options)
    except Exception as error:  # likewise
        with torch.device("meta"):
            load_state(timm.create_model(name, pretrained=False, **options), tensors, source)
        raise AtmError(f"weights {source} do not fit {name!r}: {one_line(error)}") from None
    model.pretrained_cfg.pop("state_dict", None)
    undone = list(state.undone)
    if (size or made_for) != made_for:
        undone.append(f"positions resampled from {made_for[0]}x{made_for[1]} pixels")
    return _loaded(name, model, source, undone)


def _shape(blank: Any, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Channels, patches, classes and pooling that the weights were saved with."""
    options: dict[str, Any] = {"num_classes": len(tensors[HEAD]) if HEAD in tensors else 0}
    kernel = tensors.get(PATCHES)
    if kernel is not None and kernel.ndim == 4:
        options["in_chans"] = kernel.shape[1]
        if tuple(kernel.shape[2:]) != tuple(blank.patch_embed.patch_size):
            options["patch_size"] = tuple(kernel.shape[2:])
    pooled_norm, token_norm = "fc_norm.weight" in tensors, "norm.weight" in tensors
    if blank.global_pool == "token" and pooled_norm and not token_norm:
        options["global_pool"] = "avg"
    elif blank.global_pool == "avg" and isinstance(blank.norm, nn.Identity) and token_norm and not pooled_norm:
        options["global_pool"] = "token"
    return options


def _made_for(blank: Any, tensors: Mapping[str, Tensor], patch: Size, size: Size | None, source: str) -> Size:
    """Height and width of the images that the weights were trained on."""
    default = tuple(blank.patch_embed.img_size)
    stored, needed = _positions(blank, tensors)
    if stored is None:
        return default[0], default[1]
    for height, width in (default, size or default):
        if stored == needed(height // patch[0], width // patch[1]):
            return height, width
    side = next(side for side in itertools.count(1) if needed(side, side) >= stored)
    if needed(side, side) != stored:
        raise AtmError(
            f"weights {source} have positions for {stored} {'patches' if needed is _each else 'offsets of patches'}, "
            "which is no square; say height and width with --image-size, such as 224x160"
        )
    return side * patch[0], side * patch[1]


def _positions(blank: Any, tensors: Mapping[str, Tensor]) -> tuple[int | None, Callable[[int, int], int]]:
    """Positions that were stored, and how many a grid of rows and columns needs; None where no table grows with it."""
    absolute = tensors.get("pos_embed")
    if absolute is not None and absolute.ndim == 3:
        prefix = 0 if getattr(blank, "no_embed_class", False) else blank.num_prefix_tokens
        return absolute.shape[1] - prefix, _each
    tables = [t for name, t in tensors.items() if name.endswith("relative_position_bias_table")]
    return (len(tables[0]) - PREFIX_OFFSETS if tables else None), _offsets


def _each(rows: int, columns: int) -> int:
    return rows * columns


def _offsets(rows: int, columns: int) -> int:
    """From any patch to any other, which is what relative positions are."""
    return (2 * rows - 1) * (2 * columns - 1)


def _loaded(name: str, model: Any, source: str, undone: list[str] | None = None) -> Loaded:
    config = model.pretrained_cfg
    mean, std = tuple(config["mean"]), tuple(config["std"])
    description: dict[str, Any] = {"architecture": name, "source": source}
    if undone:
        description["undone"] = undone
    classes = int(model.num_classes)
    if not classes:
        return Loaded(model, mean, std, {**description, "outputs": "features"}, task=None)
    if _projects(name, model):
        return Loaded(model, mean, std, {**description, "outputs": "an embedding"}, task=None)
    return Loaded(model, mean, std, description, imagenet_classes(classes))


def _projects(name: str, model: Any) -> bool:
    """Whether the head is a projection into an embedding space, as CLIP's: as wide as its published one, unbiased."""
    classes = int(model.num_classes)
    if infer_imagenet_subset({"num_classes": classes}) is not None:
        return False
    architecture = name.partition(".")[0]
    configs = [timm.get_pretrained_cfg(each) for each in timm.list_pretrained(f"{architecture}.*")]
    published = {config.num_classes for config in configs if config is not None}
    bias = getattr(model.head, "bias", None)
    return classes in published and (bias is None or not bool(bias.detach().any()))
