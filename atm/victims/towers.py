"""What a victim that is asked about pictures is put together from: a vision tower and a causal language model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from atm.asked_encoder import AskedEncoder
from atm.errors import AtmError, one_line
from atm.finite import check_finite
from atm.language import Language
from atm.victims.hub import CONFIG, HUB, Repository
from atm.victims.huggingface import read_config
from atm.victims.loaded import Loaded
from atm.weight_files import state_digest

TASK: Any = "questions"


def lower_layers(vit: Any, layers: int) -> Any:
    """The model as far as some layer: its tokens come out as they leave that one, without norm or head.

    Args:
        vit: timm's, which is changed.
        layers: how many stay.

    Raises:
        AtmError: it has not so many.
    """
    if not 1 <= layers <= len(vit.blocks):
        raise AtmError(f"layer {layers} is not in 1 to {len(vit.blocks)}, the layers of the vision tower")
    vit.blocks = vit.blocks[:layers]
    for part in ("norm", "fc_norm", "head", "head_dist"):
        if hasattr(vit, part):
            setattr(vit, part, nn.Identity())
    vit.attn_pool, vit.num_classes = None, 0
    vit.global_pool = "token" if vit.num_prefix_tokens else "avg"
    return vit


def causal(name: str) -> tuple[Any, Any]:
    """A causal language model of ``transformers`` in float32 and its tokenizer, by folder or hub name.

    Raises:
        AtmError: there is none, or it has no weights as safetensors.
    """
    found = HUB.fullmatch(name)
    if not Path(name).is_dir() and found is None:
        raise AtmError(f"language model {name!r} is no folder and no hub name; give one of transformers")
    repository = Repository(name if Path(name).is_dir() or found is None else found[1])
    if not repository.json(CONFIG):
        raise AtmError(f"language model {name!r} has no config.json of transformers")
    read_config(repository)
    from transformers import AutoModelForCausalLM

    return pretrained(repository, AutoModelForCausalLM)


def pretrained(repository: Repository, kind: Any) -> tuple[Any, Any]:
    """A model of ``transformers`` in float32 and evaluation mode, with its tokenizer; nothing is unpickled.

    Raises:
        AtmError: weights or tokenizer are missing, or do not fit.
    """
    from transformers import AutoTokenizer
    from transformers.utils import logging

    folder = str(repository.weights()[0].parent)
    for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"):
        repository.file(file)  # downloaded where it is on a hub
    logging.disable_progress_bar()
    try:
        model = kind.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # a folder may hold anything, and what it says goes through several libraries
        raise AtmError(f"{repository.name} cannot be loaded by transformers: {one_line(error)[:300]}") from None
    if tokenizer.eos_token_id is None:
        raise AtmError(f"{repository.name}: its tokenizer has no token that ends a text")
    return model.eval().requires_grad_(False), tokenizer


def asked(
    vit: Any,
    language: Language,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    description: Mapping[str, Any],
) -> Loaded:
    """The victim of tower and language.

    Raises:
        AtmError: weights with NaN.
    """
    for part, tensor in language.state_dict().items():
        check_finite(f"weights of the language model: {part}", tensor)
    encoder = AskedEncoder(vit, language, mean, std)
    told = {**description, "prompt": language.prompt, "reads the class token": language.reads_class}
    return Loaded(vit, mean, std, told, task=TASK, digest=state_digest(encoder), encoder=encoder)
