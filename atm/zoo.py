"""Victims and codecs by name, and their files: safetensors whose header says what they hold.

A victim is one of the shipped ones (`VICTIMS`), a file that ``atm train victim`` wrote, or any name that timm knows,
with ``weights`` from a file or timm's own pretrained ones. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from timm.layers import PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from atm import digital, store
from atm.codec import Codec, PerTokenCodec, UncodedAnalog
from atm.encoder import Encoder
from atm.errors import AtmError, unknown
from atm.jscc import JsccCodec
from atm.stem import ConvStem

WEIGHTS = Path(str(files("atm"))) / "weights"
STEMS: dict[str, type[PatchEmbed]] = {"patch": PatchEmbed, "conv": ConvStem}
HEADER = "atm"  # the safetensors metadata key under which our own description stands, as JSON


@dataclass(frozen=True)
class Victim:
    """A model under attack.

    Attributes:
        name: what the user called it.
        encoder: the model, ready to run, in evaluation mode and frozen.
        classes: class names in the order of the logits; empty where they are not known.
        digest: SHA-256 of the weights.
        description: what the file's header says: architecture, data, accuracy.
    """

    name: str
    encoder: Encoder
    classes: tuple[str, ...]
    digest: str
    description: dict[str, Any] = field(default_factory=dict)


def victims() -> list[str]:
    """Names of the shipped victims."""
    return sorted(path.stem for path in WEIGHTS.glob("vit_*.safetensors"))


def build_vit(architecture: Mapping[str, Any]) -> VisionTransformer:
    """Timm's ``VisionTransformer`` from keyword arguments; ``stem`` is ``patch`` or ``conv``."""
    options = dict(architecture)
    stem = options.pop("stem", "patch")
    if stem not in STEMS:
        raise unknown("stem", str(stem), STEMS)
    return VisionTransformer(**options, embed_layer=STEMS[stem])


def load_victim(name: str, weights: str | Path | None = None) -> Victim:
    """A victim by name.

    Args:
        name: a shipped victim, a ``.safetensors`` file of ``atm train victim``, or a timm model name.
        weights: for a timm name, a safetensors file with its state dict; None fetches timm's pretrained weights.

    Raises:
        AtmError: nothing by that name, weights of another architecture, or a model that cannot be run.
    """
    if name in victims():
        return _own_victim(name, WEIGHTS / f"{name}.safetensors")
    if name.endswith(".safetensors") or "/" in name:
        return _own_victim(Path(name).stem, Path(name))
    if not timm.is_model(name):
        raise unknown("victim", name, [*victims(), *timm.list_models()])
    return _timm_victim(name, weights)


def _own_victim(name: str, path: Path) -> Victim:
    description, state = read_weights(path, "victim")
    vit = build_vit(description["architecture"])
    _load_state(vit, state, path)
    encoder = _frozen(Encoder(vit, tuple(description["mean"]), tuple(description["std"])))
    return Victim(name, encoder, tuple(description["classes"]), file_digest(path), description)


def _timm_victim(name: str, weights: str | Path | None) -> Victim:
    vit: Any
    if weights is None:
        try:
            vit = timm.create_model(name, pretrained=True)
        except Exception as error:  # the hub client raises many kinds; all mean the same to the user
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise AtmError(
                f"victim {name!r}: timm's pretrained weights cannot be had ({reason}); give --weights FILE.safetensors"
            ) from None
    else:
        vit = timm.create_model(name, pretrained=False)
        _load_state(vit, _read_tensors(Path(weights))[1], Path(weights))
    config = vit.pretrained_cfg
    encoder = _frozen(Encoder(vit, tuple(config["mean"]), tuple(config["std"])))
    return Victim(name, encoder, (), state_digest(vit), {"architecture": name, "source": str(weights or "timm")})


def _frozen(encoder: Encoder) -> Encoder:
    return encoder.eval().requires_grad_(False)


def load_codec(name: str, victim: Victim) -> tuple[Codec, str]:
    """The codec for a victim, and the SHA-256 of its weights (empty where it has none).

    Args:
        name: ``auto`` (the shipped one for this victim if there is one, else uncoded), ``jscc`` (the shipped one),
            ``uncoded``, ``digital:SNR`` (see `atm.digital`), or a ``.safetensors`` file of ``atm train codec``. A
            learned codec takes its rate behind a colon, in complex symbols per token: ``auto:16``.
        victim: whose tokens it carries.

    Raises:
        AtmError: no such codec, one that was trained for other tokens, or a rate that it does not have.
    """
    kind, _, rate = name.rpartition(":")
    if not rate.isdecimal():
        kind, rate = name, ""
    shipped = WEIGHTS / f"jscc_{victim.name.removeprefix('vit_')}.safetensors"
    has_one = shipped.exists() and victim.name in victims()
    if kind == "jscc" and not has_one:
        raise AtmError(f"no codec is shipped for victim {victim.name!r}; train one with 'atm train codec'")
    if kind == "uncoded" or (kind == "auto" and not has_one):
        if rate:
            raise AtmError(f"codec {name!r}: uncoded tokens of victim {victim.name!r} have one rate; drop ':{rate}'")
        return UncodedAnalog(victim.encoder.width), ""
    if name.partition(":")[0] == "digital":
        made = digital.fitted(name.partition(":")[2], victim.encoder)
        return made, state_digest(made)
    path = shipped if kind in ("auto", "jscc") else Path(kind)
    if path.suffix != ".safetensors":
        raise unknown("codec", kind, ["auto", "jscc", "uncoded", "digital", "FILE.safetensors"])
    codec = _trained_codec(path, victim)
    if not rate:
        return codec, file_digest(path)
    if not isinstance(codec, JsccCodec):
        raise AtmError(f"codec {path} is of an earlier version and has one rate; drop ':{rate}' or train a new one")
    return codec.at_rate(int(rate)), file_digest(path)


def _trained_codec(path: Path, victim: Victim) -> JsccCodec | PerTokenCodec:
    description, state = read_weights(path, "codec")
    if description.get("victim") != victim.digest:
        raise AtmError(f"codec {path} was trained for another victim than {victim.name!r}; train one for it")
    try:
        architecture = dict(description["architecture"])
        codec = JsccCodec(**architecture) if "rates" in architecture else PerTokenCodec(**architecture)
    except (KeyError, TypeError, ValueError, RuntimeError):
        raise AtmError(f"codec {path} describes no codec of this version; train one with 'atm train codec'") from None
    width = codec.config["width"]
    if width != victim.encoder.width:
        raise AtmError(
            f"codec {path} is for tokens of {width} values, those of {victim.name!r} have {victim.encoder.width}; "
            "train one for it"
        )
    _load_state(codec, state, path)
    return codec.eval().requires_grad_(False)


def read_weights(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Description and tensors of a file that this project wrote.

    Raises:
        AtmError: the file is missing, corrupted, or holds something else than ``kind``.
    """
    metadata, state = _read_tensors(path)
    try:
        description = json.loads(metadata.get(HEADER, ""))
    except ValueError:
        description = {}
    if not isinstance(description, dict) or description.get("kind") != kind:
        raise AtmError(f"{path} holds no {kind} of this project; write one with 'atm train {kind}'")
    return description, state


def write_weights(path: Path, module: nn.Module, description: Mapping[str, Any]) -> None:
    """Write a module's tensors with their description, whole or not at all."""
    tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in module.state_dict().items()}
    store.make_folder(path.parent)
    store.write(path, save(tensors, metadata={HEADER: json.dumps(dict(description), sort_keys=True)}))


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_digest(module: nn.Module) -> str:
    """SHA-256 over a module's tensors, in hex; for weights that came from no single file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(str(path), framework="pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        reason = "no such file" if not path.exists() else str(error).splitlines()[0]
        raise AtmError(f"weights {path} cannot be read as safetensors: {reason}") from None


def _load_state(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    wrong = [name for name in sorted(wanted.keys() | found.keys()) if wanted.get(name) != found.get(name)]
    if wrong:
        first = f"{wrong[0]} is {found.get(wrong[0], 'missing')}, expected {wanted.get(wrong[0], 'nothing')}"
        raise AtmError(f"weights {path} are of another architecture: {len(wrong)} tensors differ, the first: {first}")
    module.load_state_dict(dict(state))
