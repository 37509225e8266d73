"""Codecs by name: shipped, trained by the user, fitted, or none."""

from __future__ import annotations

from pathlib import Path

from atm import digital
from atm.codec import Codec, UncodedAnalog
from atm.errors import AtmError, unknown
from atm.jscc import JsccCodec
from atm.victims import Victim, victims
from atm.victims.own import SHIPPED
from atm.weight_files import file_digest, load_state, read_weights, state_digest


def load_codec(name: str, victim: Victim, exit_layer: int | None = None) -> tuple[Codec, str]:
    """The codec for a victim's tokens after one of its layers, and the SHA-256 of its weights (empty without any).

    Args:
        name: ``auto`` (the shipped one for these tokens if there is one, else uncoded), ``jscc`` (the shipped one),
            ``uncoded``, ``digital:SNR`` (see `atm.digital`), or a ``.safetensors`` file of ``atm train codec``. A
            learned codec takes its rate behind a colon, in complex symbols per token: ``auto:16``.
        victim: whose tokens it carries.
        exit_layer: the layer after which they leave the device, from 1; None is the last.

    Raises:
        AtmError: no such codec, one that was trained for other tokens, or a rate that it does not have.
    """
    kind, _, rate = name.rpartition(":")
    if not rate.isdecimal():
        kind, rate = name, ""
    depth = victim.encoder.depth
    layer = depth if exit_layer is None else exit_layer
    shipped = SHIPPED / f"jscc_{victim.name.removeprefix('vit_')}.safetensors"
    has_one = shipped.exists() and victim.name in victims()
    if kind == "jscc" and not has_one:
        raise AtmError(f"no codec is shipped for victim {victim.name!r}; train one with 'atm train codec'")
    if kind == "uncoded" or (kind == "auto" and not (has_one and layer == depth)):
        if rate:
            raise AtmError(f"codec {name!r}: uncoded tokens of victim {victim.name!r} have one rate; drop ':{rate}'")
        return UncodedAnalog(victim.encoder.width), ""
    if name.partition(":")[0] == "digital":
        made = digital.fitted(name.partition(":")[2], victim.encoder, layer)
        return made, state_digest(made)
    path = shipped if kind in ("auto", "jscc") else Path(kind)
    if path.suffix != ".safetensors":
        raise unknown("codec", kind, ["auto", "jscc", "uncoded", "digital", "FILE.safetensors"])
    codec = _trained(path, victim, layer)
    return (codec.at_rate(int(rate)) if rate else codec), file_digest(path)


def _trained(path: Path, victim: Victim, layer: int) -> JsccCodec:
    description, state = read_weights(path, "codec")
    if description.get("victim") not in (victim.digest, victim.body):
        raise AtmError(f"codec {path} was trained for another victim than {victim.name!r}; train one for it")
    try:
        codec = JsccCodec(**description["architecture"])
        trained_for = int(description.get("exit_layer") or victim.encoder.depth)
    except (KeyError, TypeError, ValueError, RuntimeError):
        raise AtmError(f"codec {path} describes no codec of this version; train one with 'atm train codec'") from None
    width = codec.config["width"]
    if width != victim.encoder.width:
        raise AtmError(
            f"codec {path} is for tokens of {width} values, those of {victim.name!r} have {victim.encoder.width}; "
            "train one for it"
        )
    if trained_for != layer:
        raise AtmError(
            f"codec {path.name} was trained on tokens after layer {trained_for}, these leave after layer {layer}; "
            f"train one with 'atm train codec --exit-layer {layer}'"
        )
    load_state(codec, state, path)
    return codec.eval().requires_grad_(False).to(victim.encoder.device)
