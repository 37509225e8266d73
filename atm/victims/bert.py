"""Text encoders in the format of Hugging Face's ``transformers``: BERT, MiniLM, DistilBERT and RoBERTa.

Their weights go into `atm.bert.Bert`, which computes what theirs do; ``transformers`` only reads the configuration.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from atm.bert import Bert
from atm.errors import AtmError, unknown
from atm.text_encoder import TextEncoder
from atm.victims.hub import CONFIG, Repository
from atm.victims.huggingface import architecture_of, class_names, described, read_config
from atm.victims.loaded import Loaded
from atm.weight_files import load_state
from atm.words import Words

FAMILIES = ("bert", "distilbert", "roberta")
LONGEST = 64  # words of a sentence; longer ones are cut, since all that is ever sent of a sentence is counted by it
TOKENIZER = "tokenizer.json"
ACTIVATIONS: dict[str, Any] = {
    "gelu": nn.GELU, "relu": nn.ReLU, "gelu_new": partial(nn.GELU, approximate="tanh"),
    "gelu_pytorch_tanh": partial(nn.GELU, approximate="tanh"),
}  # fmt: skip

# Tensors that no answer depends on.
UNUSED = re.compile(r"cls\.|lm_head\.|vocab_|.*embeddings\.position_ids$")
NAMES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^(bert|distilbert|roberta)\.", ""),
        (r"\.gamma$", ".weight"),
        (r"\.beta$", ".bias"),
        (r"^embeddings\.word_embeddings\.", "words."),
        (r"^embeddings\.position_embeddings\.", "positions."),
        (r"^embeddings\.LayerNorm\.", "embed_norm."),
        (r"^(encoder|transformer)\.layer\.", "blocks."),
        (r"\.attention\.self\.(query|key|value)\.", r".attn.\1."),
        (r"\.attention\.q_lin\.", ".attn.query."),
        (r"\.attention\.k_lin\.", ".attn.key."),
        (r"\.attention\.v_lin\.", ".attn.value."),
        (r"\.attention\.(output\.dense|out_lin)\.", ".attn.proj."),
        (r"\.(attention\.output\.LayerNorm|sa_layer_norm)\.", ".norm1."),
        (r"\.(intermediate\.dense|ffn\.lin1)\.", ".mlp.fc1."),
        (r"^(blocks\.\d+)\.(output\.dense|ffn\.lin2)\.", r"\1.mlp.fc2."),
        (r"^(blocks\.\d+)\.(output\.LayerNorm|output_layer_norm)\.", r"\1.norm2."),
        (r"^(pooler\.dense|pre_classifier|classifier\.dense)\.", "fc_norm.0."),
        (r"^classifier\.(out_proj\.)?", "head."),
    )
)


def load(repository: Repository, raw: Mapping[str, Any]) -> Loaded:
    """A victim from a folder or hub repository of ``transformers``.

    Args:
        repository: its ``config.json``, safetensors and ``tokenizer.json``.
        raw: what ``config.json`` says.

    Raises:
        AtmError: a kind that is not supported, ``transformers`` or the tokenizer is missing, or weights do not fit.
    """
    with described(repository):
        return _loaded(repository, raw)


def _loaded(repository: Repository, raw: Mapping[str, Any]) -> Loaded:
    config = _config(repository)
    state = renamed(repository.tensors())
    path = repository.file(TOKENIZER)
    if path is None:
        raise AtmError(f"victim {repository.name!r} has no {TOKENIZER}; save its tokenizer as a fast one")
    vocabulary = len(state["words.weight"])
    words = Words.read(path, vocabulary)
    architecture = architecture_of(raw)
    answers = "ForSequenceClassification" in architecture and len(state["head.weight"]) > 1
    if not answers:
        state = {name: tensor for name, tensor in state.items() if not name.startswith(("fc_norm.", "head."))}
    model = _build(str(raw["model_type"]), config, state, words, answers)
    load_state(model, state, repository.name)
    encoder = TextEncoder(model, words, min(LONGEST, model.positions.num_embeddings - model.first - 2))
    description: dict[str, Any] = {"architecture": architecture or raw["model_type"], "source": repository.name}
    if not answers:
        description["outputs"] = "features"
    return Loaded(
        model, (), (), description, class_names(raw) if answers else (), "classification" if answers else None,
        encoder=encoder,
    )  # fmt: skip


def _config(repository: Repository) -> Any:
    config = read_config(repository)
    if getattr(config, "position_embedding_type", "absolute") != "absolute":
        where = repository.file(CONFIG)
        raise AtmError(f"{where}: {config.position_embedding_type} positions are not supported, only absolute ones")
    return config


def _build(family: str, config: Any, state: Mapping[str, Tensor], words: Words, answers: bool) -> Bert:
    """A model of the configuration, with random weights."""
    activation = str(getattr(config, "activation", None) or config.hidden_act)
    if activation not in ACTIVATIONS:
        raise unknown("activation", activation, ACTIVATIONS)
    width = config.hidden_size
    between = nn.ReLU() if family == "distilbert" else nn.Tanh()
    return Bert(
        vocabulary=len(state["words.weight"]),
        positions=len(state["positions.weight"]),
        width=width,
        depth=config.num_hidden_layers,
        heads=config.num_attention_heads,
        hidden=len(state["blocks.0.mlp.fc1.weight"]),
        activation=ACTIVATIONS[activation],
        eps=getattr(config, "layer_norm_eps", 1e-12),
        first=config.pad_token_id + 1 if family == "roberta" else 0,
        special=words.special,
        global_pool="token" if answers else "avg",
        pooler=nn.Sequential(nn.Linear(width, width), between) if answers else None,
        num_classes=len(state["head.weight"]) if answers else 0,
    )


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in float32 under the names of `atm.bert.Bert`: queries, keys and values in one.

    All words of a sentence are of the first type, whose embedding is added to the positions'.
    """
    state: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if UNUSED.match(name):
            continue
        for pattern, replacement in NAMES:
            name = pattern.sub(replacement, name)
        state[name] = tensor.float() if tensor.is_floating_point() else tensor
    types = state.pop("embeddings.token_type_embeddings.weight", None)
    if types is not None:
        state["positions.weight"] = state["positions.weight"] + types[0]
    for name in [name for name in state if ".attn.query." in name]:
        parts = [state.pop(name.replace(".query.", f".{part}.")) for part in ("query", "key", "value")]
        state[name.replace(".query.", ".qkv.")] = torch.cat(parts)
    return state
