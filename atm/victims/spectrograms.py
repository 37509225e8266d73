"""The Audio Spectrogram Transformer in the format of Hugging Face's ``transformers`` (AST, Gong et al. 2021).

It is a vision transformer that sees a spectrogram, with a class and a distillation token. Published ones cut it into
patches that overlap; a token of such a model belongs to no cell of its own, so only those are supported whose
patches lie side by side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from atm.errors import AtmError
from atm.families import FirstTwo
from atm.signals.spectrogram import RATE, Fbank
from atm.victims.hub import Repository
from atm.victims.huggingface import architecture_of, check_activation, class_names, described, read_config, renamed
from atm.victims.loaded import Loaded, Size
from atm.victims.state import tidied
from atm.weight_files import load_state

PREFIX = "audio_spectrogram_transformer."
ANSWERS = "ASTForAudioClassification"


def load(repository: Repository, raw: Mapping[str, Any], size: Size | None) -> Loaded:
    """The transformer as a victim.

    Args:
        repository: its ``config.json`` and safetensors, and ``preprocessor_config.json`` where it has one.
        raw: what ``config.json`` says.
        size: mel bands and frames of 10 ms, to which positions are resampled; None takes the configuration's.

    Raises:
        AtmError: weights that do not fit, patches that overlap, or another feature extractor.
    """
    config = read_config(repository)
    with described(repository):
        return _loaded(repository, raw, config, size)


def _loaded(repository: Repository, raw: Mapping[str, Any], config: Any, size: Size | None) -> Loaded:
    patch, made_for = int(config.patch_size), (int(config.num_mel_bins), int(config.max_length))
    if (config.frequency_stride, config.time_stride) != (patch, patch):
        raise AtmError(
            f"{repository.name} cuts spectrograms into overlapping patches (of {patch}, every "
            f"{config.frequency_stride}x{config.time_stride}); only patches side by side are supported"
        )
    bins, frames = size or made_for
    if bins != made_for[0] or frames % patch or bins % patch or made_for[1] % patch:
        raise AtmError(
            f"{repository.name} hears {made_for[0]} mel bands in patches of {patch} frames of 10 ms: "
            f"give --image-size {made_for[0]}x{6 * patch} for about a second"
        )
    architecture = architecture_of(raw)
    answers = architecture == ANSWERS
    tidy = tidied(repository.tensors(), repository.name)
    state = {name.removeprefix(PREFIX): tensor for name, tensor in tidy.tensors.items()}
    for name in [name for name in state if name.startswith("classifier.")]:
        state[name.replace("classifier.layernorm.", "fc_norm.").replace("classifier.dense.", "head.")] = state.pop(name)
    state = renamed(state)
    state["reg_token"] = state.pop("dist_token", torch.empty(0))
    model = FirstTwo(
        img_size=made_for,
        patch_size=patch,
        in_chans=1,
        embed_dim=int(config.hidden_size),
        depth=int(config.num_hidden_layers),
        num_heads=int(config.num_attention_heads),
        mlp_ratio=config.intermediate_size / config.hidden_size,
        qkv_bias="blocks.0.attn.qkv.bias" in state,
        norm_layer=partial(nn.LayerNorm, eps=config.layer_norm_eps),
        act_layer=check_activation(config.hidden_act),
        num_classes=len(state["head.weight"]) if "head.weight" in state else 0,
    )
    load_state(model, state, repository.name)
    undone = list(tidy.undone)
    if (bins, frames) != made_for:
        model.set_input_size(img_size=(bins, frames))
        undone.append(f"positions resampled from {made_for[0]}x{made_for[1]} frames")
    recipe = _recipe(repository.json("preprocessor_config.json"), repository.name)
    description: dict[str, Any] = {"architecture": architecture or "ast", "source": repository.name}
    description |= {"undone": undone} if undone else {}
    description |= {} if answers else {"outputs": "features"}
    names = class_names(raw) if answers else ()
    return Loaded(
        model,
        (recipe.mean,),
        (recipe.std,),
        description,
        names,
        "classification" if answers else None,
        spectrogram=recipe.name,
    )


def _recipe(preprocessing: Mapping[str, Any], source: str) -> Fbank:
    """Kaldi's spectrogram, normalised as the model's feature extractor says."""
    if preprocessing.get("sampling_rate", RATE) != RATE:
        raise AtmError(f"{source}: preprocessor_config.json has another sampling_rate than {RATE}; not supported")
    recipe = Fbank()
    if not preprocessing.get("do_normalize", True):
        return Fbank((0.0, 1.0))
    mean, std = preprocessing.get("mean", recipe.scale[0]), preprocessing.get("std", recipe.scale[1] / 2)
    if not all(type(number) in (int, float) and math.isfinite(number) for number in (mean, std)) or std <= 0:
        raise AtmError(f"{source}: preprocessor_config.json: mean and std are {mean!r} and {std!r}; give two numbers")
    return Fbank((float(mean), 2 * float(std)))
