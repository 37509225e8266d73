"""Weights on disk: safetensors only, ours with a header that says what they are. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from atm import store
from atm.errors import AtmError
from atm.finite import check_finite
from atm.foreign import check_regular, parse_json

HEADER = "atm"  # the safetensors metadata key under which our own description stands, as JSON
PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".tar")


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a safetensors file.

    Raises:
        AtmError: the file is missing, a pickle or damaged, or a tensor holds NaN or an infinity.
    """
    if path.suffix in PICKLES and path.exists():
        raise AtmError(
            f"weights {path} are a pickle, which can run code when it is read; "
            f"convert them with 'atm convert {path.name} {path.stem}.safetensors'"
        )
    check_regular(path, f"weights {path}")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        reason = "no such file" if not path.exists() else str(error).splitlines()[0]
        raise AtmError(f"weights {path} cannot be read as safetensors: {reason}") from None
    for name, tensor in state.items():
        check_finite(f"weights {path}: {name}", tensor)
    return metadata, state


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors, whole or not at all."""
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    store.make_folder(path.parent)
    store.write(path, save(plain, metadata=dict(metadata or {})))


def read_weights(path: Path, kind: str, otherwise: str = "") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Description and tensors of a file that this project wrote.

    Args:
        path: of the file.
        kind: what it should hold.
        otherwise: what else may be done where it holds something else, the end of the message.

    Raises:
        AtmError: the file is missing, damaged, or holds something else than ``kind``.
    """
    metadata, state = read_tensors(path)
    try:
        description = parse_json(metadata.get(HEADER, ""))
    except ValueError:
        description = {}
    if not isinstance(description, dict) or description.get("kind") != kind:
        raise AtmError(f"{path} holds no {kind} of this project; write one with 'atm train {kind}'{otherwise}")
    return description, state


def write_weights(path: Path, module: nn.Module, description: Mapping[str, Any]) -> None:
    """Write a module's tensors with their description, whole or not at all."""
    write_tensors(path, module.state_dict(), {HEADER: json.dumps(dict(description), sort_keys=True)})


def load_state(module: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Give a module exactly these tensors.

    Raises:
        AtmError: one is missing, too many, or of another shape; ``source`` is named.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    wrong = [name for name in sorted(wanted.keys() | found.keys()) if wanted.get(name) != found.get(name)]
    if wrong:
        first = f"{wrong[0]} is {found.get(wrong[0], 'missing')}, expected {wanted.get(wrong[0], 'nothing')}"
        raise AtmError(f"weights {source} are of another architecture: {len(wrong)} tensors differ, the first: {first}")
    module.load_state_dict(dict(state))


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_digest(module: nn.Module) -> str:
    """SHA-256 over a module's tensors, in hex; for weights that came from no single file."""
    return tensors_digest(module.state_dict())


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over tensors and their names, in hex."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
