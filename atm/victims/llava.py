"""LLaVA in the format of Hugging Face's ``transformers``: vision tower, projector and language model in one folder.

The tower's weights go into timm's model, as far as the layer that the language model reads; projector and language
model stay those of ``transformers``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atm.errors import AtmError, unknown
from atm.language import IMAGE, QUESTION, Language
from atm.victims.hub import Repository
from atm.victims.huggingface import FAMILIES, architecture_of, check_activation, normalised, read_config, vision_model
from atm.victims.loaded import Loaded, Size
from atm.victims.towers import asked, lower_layers, pretrained

FAMILY = "llava"
PROMPT = f"USER: {IMAGE}\n{QUESTION}\nASSISTANT:"  # LLaVA 1.5's, where the tokenizer brings no template of its own


def load(repository: Repository, raw: Mapping[str, Any], size: Size | None) -> Loaded:
    """A victim from a folder or hub repository.

    Args:
        repository: its ``config.json``, safetensors and tokenizer, and ``preprocessor_config.json`` where it has one.
        raw: what ``config.json`` says.
        size: height and width of the images, to which positions are resampled; None takes the configuration's.

    Raises:
        AtmError: a vision tower of another family, several layers that are read, or weights that do not fit.
    """
    config = read_config(repository)
    family = str(config.vision_config.model_type).removesuffix("_vision_model")
    if family not in FAMILIES:
        raise unknown("vision tower", family, FAMILIES)
    check_activation(config.vision_config.hidden_act)
    layer = config.vision_feature_layer
    if not isinstance(layer, int):
        raise AtmError(f"{repository.name} reads several layers of its vision tower; only one is supported")
    from transformers import LlavaForConditionalGeneration

    model, tokenizer = pretrained(repository, LlavaForConditionalGeneration)
    tower, projector = model.model.vision_tower, model.model.multi_modal_projector
    model.model.vision_tower = model.model.multi_modal_projector = None  # which run here in their own places
    vit, undone = vision_model(family, "", config.vision_config, tower.state_dict(), repository.name, size)
    depth = len(vit.blocks)
    vit = lower_layers(vit, layer if layer >= 0 else depth + 1 + layer)
    reads_class = config.vision_feature_select_strategy == "full"
    if vit.num_prefix_tokens != 1 and not reads_class:
        raise AtmError(f"{repository.name} leaves out one token of a tower that has {vit.num_prefix_tokens} before all")
    mean, std = normalised(repository.json("preprocessor_config.json"), family, 3)
    description: dict[str, Any] = {"architecture": architecture_of(raw) or FAMILY, "source": repository.name}
    if undone:
        description["undone"] = undone
    return asked(vit, Language(model, projector, tokenizer, prompt_of(tokenizer), reads_class), mean, std, description)


def prompt_of(tokenizer: Any) -> str:
    """The prompt that the tokenizer's template makes of one picture and one question; LLaVA's where it has none."""
    said = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}]
    try:
        made = str(tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True))
    except Exception:  # it has none, or one for text alone
        return PROMPT
    begins = tokenizer.bos_token
    made = made.removeprefix(begins) if begins else made  # which is put in front of every text anyway
    return made if made.count(IMAGE) == made.count(QUESTION) == 1 else PROMPT
