"""State dicts as people save them: wrappers around the names are undone, and every change is named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from atm.errors import AtmError
from atm.weight_files import read_tensors

PATCHES = "patch_embed.proj.weight"
HEAD = re.compile(r"[./](?:head|fc|classifier|cls_head|linear|probe|\d+)(?:\.\d+)*\.weight$")
# What wrappers add to every name where no patch embedding tells the prefix.
WRAPPERS = ("module.", "model.", "_orig_mod.", "state_dict.", "model_state_dict.", "net.", "backbone.", "encoder.")


class State(NamedTuple):
    """Tensors under timm's names, and what was done to get there."""

    tensors: dict[str, Tensor]
    undone: tuple[str, ...]


def read_state(path: Path) -> State:
    """The state dict in a safetensors file, under timm's names and in float32.

    Raises:
        AtmError: the file cannot be read, or it is not clear which of its tensors are the transformer's.
    """
    return tidied(read_tensors(path)[1], path)


def tidied(tensors: Mapping[str, Tensor], source: str | Path) -> State:
    """Tensors without the wrappers around their names, the task head called ``head``, all floats as float32.

    Raises:
        AtmError: there are several transformers, or tensors beside it that are no task head.
    """
    state, undone = _without_prefix(dict(tensors), source)
    state, renamed = _with_head(state, source)
    halves = {str(t.dtype).removeprefix("torch.") for t in state.values() if t.is_floating_point()} - {"float32"}
    state = {name: t.float() if t.is_floating_point() else t for name, t in state.items()}
    cast = [f"cast from {' and '.join(sorted(halves))} to float32"] if halves else []
    return State(state, (*undone, *renamed, *cast))


def _without_prefix(state: dict[str, Tensor], source: str | Path) -> tuple[dict[str, Tensor], list[str]]:
    """Names below the prefix of the patch embedding; what stands elsewhere keeps its whole name, behind a ``/``."""
    prefixes = sorted(name.removesuffix(PATCHES) for name in state if name.endswith(PATCHES))
    if len(prefixes) > 1:
        shown = " and ".join(repr(prefix) for prefix in prefixes[:3])
        raise AtmError(f"weights {source} hold {len(prefixes)} transformers, under {shown}; save the one that is meant")
    if not prefixes:
        return _unwrapped(state)
    prefix = prefixes[0]
    if not prefix:
        return state, []
    inside = {name.removeprefix(prefix): t for name, t in state.items() if name.startswith(prefix)}
    outside = {f"/{name}": t for name, t in state.items() if not name.startswith(prefix) and t.ndim}
    return inside | outside, [f"prefix {prefix!r} undone"]


def _unwrapped(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Names without wrappers that all of them carry, for formats whose patch embedding is called otherwise."""
    undone: list[str] = []
    while wrapper := next((w for w in WRAPPERS if state and all(name.startswith(w) for name in state)), None):
        state = {name.removeprefix(wrapper): t for name, t in state.items()}
        undone.append(f"prefix {wrapper!r} undone")
    return state, undone


def _with_head(state: dict[str, Tensor], source: str | Path) -> tuple[dict[str, Tensor], list[str]]:
    """The state with its one linear head under the name ``head``, wherever the user's script had put it."""
    strangers = [name for name in state if name.startswith("/")]
    if "head.weight" not in state and PATCHES in state:
        width = len(state[PATCHES])
        outside = [n for n in strangers if HEAD.search(n)]
        inside = [n for n in state if re.fullmatch(r"(?:head|fc|classifier)(?:\.\d+)*\.weight", n)]
        found = [n for n in (*inside, *outside) if state[n].ndim == 2 and state[n].shape[1] == width]
        if len(found) == 1:
            stem = found[0].removesuffix("weight")
            renamed = {
                name.replace(stem, "head.", 1) if name.startswith(stem) else name: t for name, t in state.items()
            }
            state, strangers = renamed, [name for name in renamed if name.startswith("/")]
            undone = [f"head {stem.strip('/.')!r} is taken for the task head"]
        else:
            undone = []
    else:
        undone = []
    if strangers:
        raise AtmError(
            f"weights {source} hold {len(strangers)} tensors beside the transformer, such as {strangers[0][1:]}; "
            "save the transformer and a linear head alone"
        )
    if "head.weight" in state and "head.bias" not in state:
        state = {**state, "head.bias": torch.zeros(len(state["head.weight"]))}
        undone.append("a head without bias")
    return state, undone
