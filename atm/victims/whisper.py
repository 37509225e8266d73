"""Whisper's encoder, in the format of Hugging Face's ``transformers`` (Radford et al. 2022).

Its layers compute what timm's do, so its weights go into timm's `VisionTransformer` behind `atm.stem.FrameStem`: the
two convolutions come first, merging happens inside the layers. The encoder was trained on windows of 30 s; for shorter
ones the first positions are taken. The decoder is no part of the victim unless
`atm.victims.transcripts` puts it into the server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from atm.errors import AtmError
from atm.signals.spectrogram import HOP, RATE, LogMel
from atm.stem import FrameStem
from atm.victims.hub import Repository
from atm.victims.huggingface import architecture_of, check_activation, class_names, described, read_config
from atm.victims.loaded import Loaded, Size
from atm.weight_files import load_state

ANSWERS = "WhisperForAudioClassification"
FRAMES = 2  # of a token
STANDARD = {"sampling_rate": RATE, "hop_length": HOP, "n_fft": 400, "dither": 0.0}  # of the feature extractor
NAMES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^layers\.", "blocks."),
        (r"\.self_attn_layer_norm\.", ".norm1."),
        (r"\.final_layer_norm\.", ".norm2."),
        (r"\.self_attn\.out_proj\.", ".attn.proj."),
        (r"\.fc([12])\.", r".mlp.fc\1."),
        (r"^layer_norm\.", "norm."),
    )
)


def load(repository: Repository, raw: Mapping[str, Any], size: Size | None) -> Loaded:
    """The encoder as a victim.

    Args:
        repository: its ``config.json`` and safetensors, and ``preprocessor_config.json`` where it has one.
        raw: what ``config.json`` says.
        size: mel bands and frames of 10 ms; None is the window of 30 s.

    Raises:
        AtmError: weights that do not fit, or a size or feature extractor that is not the encoder's.
    """
    config = read_config(repository)
    with described(repository):
        return _loaded(repository, raw, config, size)


def _loaded(repository: Repository, raw: Mapping[str, Any], config: Any, size: Size | None) -> Loaded:
    architecture = architecture_of(raw)
    bins, longest = int(config.num_mel_bins), FRAMES * int(config.max_source_positions)
    height, frames = size or (bins, longest)
    if height != bins or frames % FRAMES or frames > longest:
        raise AtmError(
            f"{repository.name} hears {bins} mel bands of at most {longest} frames of 10 ms, in pairs: "
            f"give --image-size {bins}x100 for one second"
        )
    _check_extractor(repository.json("preprocessor_config.json"), repository.name)
    if architecture == ANSWERS and config.use_weighted_layer_sum:
        raise AtmError(
            f"{repository.name} answers from the outputs of all layers, which merging changes; not supported"
        )
    if config.scale_embedding:
        raise AtmError(f"{repository.name} scales its embedding, which Whisper's encoder does not; not supported")
    stored = repository.tensors()
    tensors = {name: tensor.float() for name, tensor in stored.items()}
    undone = [] if all(tensor.dtype == torch.float32 for tensor in stored.values()) else ["cast to float32"]
    state = renamed(tensors, int(config.encoder_layers), frames // FRAMES, repository.name)
    if architecture == ANSWERS:
        state |= _head(tensors, repository.name)
    model = VisionTransformer(
        img_size=(bins, frames),
        patch_size=(bins, FRAMES),
        in_chans=1,
        embed_dim=int(config.d_model),
        depth=int(config.encoder_layers),
        num_heads=int(config.encoder_attention_heads),
        mlp_ratio=config.encoder_ffn_dim / config.d_model,
        num_classes=len(state["head.weight"]) if "head.weight" in state else 0,
        class_token=False,
        global_pool="avg",
        fc_norm=False,  # the last norm comes before the average
        norm_layer=partial(nn.LayerNorm, eps=1e-5),
        act_layer=check_activation(config.activation_function),
        embed_layer=FrameStem,
    )
    load_state(model, state, repository.name)
    description: dict[str, Any] = {"architecture": architecture or "whisper", "source": repository.name}
    if architecture != ANSWERS:
        description["outputs"] = "features"
    if frames != longest:
        undone.append(f"the first {frames // FRAMES} of {longest // FRAMES} positions are taken")
    if undone:
        description["undone"] = undone
    recipe = LogMel()
    return Loaded(
        model,
        (recipe.mean,),
        (recipe.std,),
        description,
        class_names(raw) if architecture == ANSWERS else (),
        task="classification" if architecture == ANSWERS else None,
        spectrogram=recipe.name,
    )


def renamed(tensors: Mapping[str, Tensor], depth: int, positions: int, source: str) -> dict[str, Tensor]:
    """The encoder's tensors under timm's names and in timm's shapes.

    Args:
        tensors: in float32, as transformers names them, with or without the decoder.
        depth: layers.
        positions: that are kept, the first ones.
        source: for the error.

    Raises:
        AtmError: the tensors are not those of Whisper's encoder.
    """
    own = {name.rpartition("encoder.")[2]: tensor for name, tensor in tensors.items()
           if name.startswith(("model.encoder.", "encoder."))}  # fmt: skip
    try:
        for layer in range(depth):
            name = f"layers.{layer}.self_attn"
            queries, keys, values = (own.pop(f"{name}.{part}_proj.weight") for part in "qkv")
            own[f"blocks.{layer}.attn.qkv.weight"] = torch.cat((queries, keys, values))
            biases = own.pop(f"{name}.q_proj.bias"), own.pop(f"{name}.v_proj.bias")
            own[f"blocks.{layer}.attn.qkv.bias"] = torch.cat((biases[0], torch.zeros(len(keys)), biases[1]))
        for number, place in ((1, 0), (2, 2)):
            weight = own.pop(f"conv{number}.weight")  # [out, in, 3], over time
            own[f"patch_embed.proj.{place}.weight"] = weight[:, None] if number == 1 else weight[:, :, None]
            own[f"patch_embed.proj.{place}.bias"] = own.pop(f"conv{number}.bias")
        own["pos_embed"] = own.pop("embed_positions.weight")[None, :positions]
    except (KeyError, IndexError, TypeError) as error:
        raise AtmError(f"{source} lacks a tensor of Whisper's encoder: {error}") from None
    found = {}
    for name, tensor in own.items():
        for pattern, replacement in NAMES:
            name = pattern.sub(replacement, name)
        found[name] = tensor
    return found


def _head(tensors: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The classifier's projection and its answers in one linear map: nothing stands between them but an average."""
    try:
        first, second = ((tensors[f"{part}.weight"], tensors[f"{part}.bias"]) for part in ("projector", "classifier"))
    except KeyError as error:
        raise AtmError(f"{source} lacks a tensor of a classifier: {error}") from None
    return {"head.weight": second[0] @ first[0], "head.bias": second[0] @ first[1] + second[1]}


def _check_extractor(preprocessing: Mapping[str, Any], source: str) -> None:
    for key, value in STANDARD.items():
        if preprocessing.get(key, value) != value:
            raise AtmError(f"{source}: {key} in preprocessor_config.json is {preprocessing[key]}; it must be {value}")
