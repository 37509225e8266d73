"""Vision transformers in the format of Hugging Face's ``transformers``: ViT, DeiT, DINOv2, CLIP and SigLIP.

They compute what timm's do under other names, so their weights go into timm's `VisionTransformer` and the encoder needs
to know nothing of them. ``transformers`` itself (extra ``hf``) only reads the configuration, for its defaults.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import SwiGLUPacked, VisionTransformer
from torch import Tensor, nn

from atm.errors import AtmError, one_line, unknown
from atm.families import TokenAndMean
from atm.victims.hub import CONFIG, Repository
from atm.victims.loaded import Loaded, Size, check_size, parse_size
from atm.victims.state import tidied
from atm.weight_files import load_state
from privacy_metrics.extras import extra

FAMILIES = ("vit", "deit", "dinov2", "dinov2_with_registers", "clip", "siglip")
OF_SOUND = ("whisper", "audio-spectrogram-transformer")  # which have files of their own beside this one
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5,) * 3, (0.5,) * 3)
NORMALISED: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "vit": HALF, "deit": IMAGENET, "dinov2": IMAGENET, "dinov2_with_registers": IMAGENET, "clip": CLIP, "siglip": HALF
}  # fmt: skip
ACTIVATIONS = {"gelu": "gelu", "quick_gelu": "quick_gelu", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}

# Tensors that the answer does not depend on.
UNUSED = re.compile(r"text_model\.|text_projection|logit_|pooler\.|.*embeddings\.(mask_token|position_ids)|decoder\.")
NAMES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^(vit|deit|dinov2|dinov2_with_registers|vision_model)\.", ""),
        (r"^embeddings\.(cls_token|class_embedding)$", "cls_token"),
        (r"^embeddings\.distillation_token$", "dist_token"),
        (r"^embeddings\.register_tokens$", "reg_token"),
        (r"^embeddings\.position_embeddings?(\.weight)?$", "pos_embed"),
        (r"^embeddings\.(patch_embeddings\.projection|patch_embedding)\.", "patch_embed.proj."),
        (r"^encoder\.layers?\.", "blocks."),
        (r"\.attention\.attention\.(query|key|value)\.", r".attn.\1."),
        (r"\.self_attn\.(query|key|value|[qkv])_proj\.", r".attn.\1."),
        (r"\.attention\.output\.dense\.|\.self_attn\.out_proj\.", ".attn.proj."),
        (r"\.(intermediate\.dense|mlp\.weights_in)\.", ".mlp.fc1."),
        (r"^(blocks\.\d+)\.(output\.dense|mlp\.weights_out)\.", r"\1.mlp.fc2."),
        (r"\.(layernorm_before|layer_norm1)\.", ".norm1."),
        (r"\.(layernorm_after|layer_norm2)\.", ".norm2."),
        (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
        (r"^pre_layrnorm\.", "norm_pre."),
        (r"^head\.probe$", "attn_pool.latent"),
        (r"^head\.attention\.out_proj\.", "attn_pool.proj."),
        (r"^head\.attention\.in_proj_", "attn_pool.in_proj."),
        (r"^head\.layernorm\.", "attn_pool.norm."),
        (r"^head\.mlp\.", "attn_pool.mlp."),
        (r"^(layernorm|post_layernorm)\.", "norm."),
        (r"^(classifier|cls_classifier|visual_projection)\.", "head."),
        (r"^distillation_classifier\.", "head_dist."),
    )
)


def load(repository: Repository, raw: Mapping[str, Any], size: Size | None) -> Loaded:
    """A victim from a folder or hub repository of ``transformers``.

    Args:
        repository: its ``config.json`` and safetensors, and ``preprocessor_config.json`` where it has one.
        raw: what ``config.json`` says.
        size: height and width of the images, to which positions are resampled; None takes the configuration's.

    Raises:
        AtmError: another family (before weights are fetched), ``transformers`` is missing, or weights that do not fit.
    """
    family = str(raw.get("model_type", "")).removesuffix("_vision_model")
    if family not in FAMILIES:
        raise unknown("transformers model type", str(raw.get("model_type", "")), (*FAMILIES, *OF_SOUND))
    config = read_config(repository)
    vision = getattr(config, "vision_config", config)
    check_activation(vision.hidden_act)
    with described(repository):
        return _loaded(repository, raw, size, family, vision)


@contextmanager
def described(repository: Repository) -> Iterator[None]:
    """Whatever goes wrong inside means that a configuration and its weights do not belong together, in one line."""
    try:
        yield
    except AtmError:
        raise
    except Exception as error:  # a description may say anything, and what it says goes through two libraries
        raise AtmError(f"{repository.name}: {CONFIG} does not describe its weights: {one_line(error)}") from error


def _loaded(repository: Repository, raw: Mapping[str, Any], size: Size | None, family: str, config: Any) -> Loaded:
    text = architecture_of(raw)
    model, undone = vision_model(family, text, config, repository.tensors(), repository.name, size)
    preprocessing = repository.json("preprocessor_config.json")
    mean, std = normalised(preprocessing, family, model.patch_embed.proj.weight.shape[1])
    description: dict[str, Any] = {"architecture": text or str(raw["model_type"]), "source": repository.name}
    if undone:
        description["undone"] = undone
    answers = "ForImageClassification" in text
    if not answers:
        description["outputs"] = "an embedding" if model.num_classes else "features"
    return Loaded(
        model,
        mean,
        std,
        description,
        class_names(raw) if answers else (),
        "classification" if answers else None,
    )


def vision_model(
    family: str, architecture: str, config: Any, tensors: Mapping[str, Tensor], source: str, size: Size | None
) -> tuple[VisionTransformer, list[str]]:
    """A vision transformer with its weights, and what was done to these.

    Args:
        family: one of `FAMILIES`.
        architecture: the class that the weights were saved from.
        config: of the vision transformer.
        tensors: as transformers names them.
        source: of the weights, for errors.
        size: see `load`.

    Raises:
        AtmError: weights that do not fit, or a size that is none of whole patches.
    """
    made_for, patch = parse_size(config.image_size), parse_size(config.patch_size)
    assert made_for is not None and patch is not None
    check_size(size, patch)
    tidy = tidied({name: tensor for name, tensor in tensors.items() if not UNUSED.match(name)}, source)
    state = _as_read(family, architecture, renamed(tidy.tensors))
    model = _build(family, architecture, config, state, made_for, patch)
    load_state(model, state, source)
    undone = list(tidy.undone)
    if size not in (None, made_for):
        model.set_input_size(img_size=size)
        undone.append(f"positions resampled from {made_for[0]}x{made_for[1]} pixels")
    return model, undone


def normalised(
    preprocessing: Mapping[str, Any], family: str, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation for each channel, from ``preprocessor_config.json`` or as the family has them."""
    mean, std = NORMALISED[family] if channels == 3 else ((0.5,), (0.5,))
    return (
        _numbers(preprocessing, "image_mean", channels) or mean, _numbers(preprocessing, "image_std", channels) or std
    )  # fmt: skip


def read_config(repository: Repository) -> Any:
    """What ``config.json`` says, with the defaults of transformers.

    Raises:
        AtmError: transformers is missing, or refuses it.
    """
    try:
        from transformers import AutoConfig
    except ImportError:
        raise AtmError(f"victims in the format of transformers need it; {extra('hf')}") from None
    path = repository.file(CONFIG)
    assert path is not None  # it has just been read
    try:
        return AutoConfig.from_pretrained(str(path.parent))
    except Exception as error:  # its validation raises many kinds
        raise AtmError(f"{path} is no configuration of transformers: {one_line(error)}") from None


def check_activation(name: str) -> str:
    """What timm calls an activation; `AtmError` where it has none."""
    if name not in ACTIVATIONS:
        raise unknown("activation", str(name), ACTIVATIONS)
    return ACTIVATIONS[name]


def _numbers(preprocessing: Mapping[str, Any], name: str, channels: int) -> tuple[float, ...]:
    """One number for each channel, or none where the file has none."""
    found = preprocessing.get(name)
    if found is None:
        return ()
    real = isinstance(found, list) and all(type(n) in (int, float) and math.isfinite(n) for n in found)
    if not real or len(found) not in (1, channels):
        raise AtmError(f"preprocessor_config.json: {name} is {str(found)[:40]!r}, give a number for each channel")
    return tuple(float(number) for number in found)


def architecture_of(raw: Mapping[str, Any]) -> str:
    """The class that the weights were saved from, or nothing."""
    return str((raw.get("architectures") or [""])[0])


def class_names(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Names in the order of the logits; none where they are only numbered."""
    names = {int(number): str(name) for number, name in (raw.get("id2label") or {}).items()}
    ordered = tuple(names[number] for number in sorted(names))
    return () if all(re.fullmatch(r"LABEL_\d+", name) for name in ordered) else ordered


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under timm's names and in timm's shapes: queries, keys and values in one."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for pattern, replacement in NAMES:
            name = pattern.sub(replacement, name)
        found[name] = tensor
    for name in [name for name in found if re.search(r"\.attn\.(query|q)\.", name)]:
        short = ".q." in name
        parts = [found.pop(name.replace(".q." if short else ".query.", f".{part}."), None)
                 for part in (("q", "k", "v") if short else ("query", "key", "value"))]  # fmt: skip
        present = [part for part in parts if part is not None]
        if len(present) == 3:
            found[re.sub(r"\.(query|q)\.", ".qkv.", name)] = torch.cat(present)
    for kind in ("weight", "bias"):
        if (packed := found.pop(f"attn_pool.in_proj.{kind}", None)) is not None:
            width = len(packed) // 3
            found[f"attn_pool.q.{kind}"], found[f"attn_pool.kv.{kind}"] = packed[:width], packed[width:]
    for name in ("cls_token", "pos_embed"):
        if name in found and found[name].ndim < 3:
            found[name] = found[name].reshape(1, -1, found[name].shape[-1])
    if "head.weight" in found and "head.bias" not in found:
        found["head.bias"] = torch.zeros(len(found["head.weight"]))
    return found


def _as_read(family: str, architecture: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that the architecture's answer depends on, where timm adds positions as it does."""
    if family == "dinov2_with_registers":  # timm adds no position to registers, and the class token's beforehand
        joined = state["cls_token"] + state["pos_embed"][:, :1]
        return {**state, "cls_token": joined, "pos_embed": state["pos_embed"][:, 1:]}
    if family == "deit" and "head_dist.weight" not in state:  # the distillation token is one that no head reads
        return {("reg_token" if name == "dist_token" else name): tensor for name, tensor in state.items()}
    if _averages(family, architecture):
        unread = "attn_pool." if family == "siglip" else "norm."
        return {name: tensor for name, tensor in state.items() if not name.startswith(unread)}
    return state


def _averages(family: str, architecture: str) -> bool:
    """Whether the classifier reads the mean patch instead of what the pretraining's objective read."""
    return family in ("clip", "siglip") and "ForImageClassification" in architecture


def _build(
    family: str, architecture: str, config: Any, state: Mapping[str, Tensor], made_for: Size, patch: Size
) -> VisionTransformer:
    """Timm's model of the configuration, with random weights."""
    norm = partial(nn.LayerNorm, eps=config.layer_norm_eps)
    activation = ACTIVATIONS[config.hidden_act]
    gated = bool(getattr(config, "use_swiglu_ffn", False))
    hidden = next((len(t) for name, t in state.items() if name == "blocks.0.mlp.fc1.weight"), 4 * config.hidden_size)
    options: dict[str, Any] = {
        "img_size": made_for,
        "patch_size": patch,
        "in_chans": getattr(config, "num_channels", 3),
        "embed_dim": config.hidden_size,
        "depth": config.num_hidden_layers,
        "num_heads": config.num_attention_heads,
        "mlp_ratio": (hidden + 0.5) / config.hidden_size,  # timm rounds down
        "qkv_bias": "blocks.0.attn.qkv.bias" in state,
        "norm_layer": norm,
        "act_layer": "silu" if gated else activation,
        "num_classes": len(state["head.weight"]) if "head.weight" in state else 0,
        "class_token": "cls_token" in state,
    }
    if family == "deit":
        distilled = "head_dist.weight" in state
        if distilled:
            return VisionTransformerDistilled(**{k: v for k, v in options.items() if k != "class_token"})
        return VisionTransformer(**options, reg_tokens=1)
    if family.startswith("dinov2"):
        options |= {"init_values": 1.0, "mlp_layer": SwiGLUPacked} if gated else {"init_values": 1.0}
        if "reg_token" in state:
            options |= {"reg_tokens": state["reg_token"].shape[1], "no_embed_class": True}
        kind = TokenAndMean if "ForImageClassification" in architecture else VisionTransformer
        return kind(**options)
    averaged = _averages(family, architecture)
    if family == "clip":
        options |= {"pre_norm": True}
        return VisionTransformer(**(options | ({"global_pool": "avg", "final_norm": False} if averaged else {})))
    if family == "siglip":
        attentive = not averaged and "attn_pool.latent" in state
        return VisionTransformer(**options, global_pool="map" if attentive else "avg", fc_norm=False)
    return VisionTransformer(**options)
