"""Tiny victims that answer questions about pictures, their words, and plain pictures with questions about colours."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.atm.models import tiny_vit

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "white": (240, 240, 240)}
PROMPT = "<image> {question} answer "
WORDS = [
    "<unk>", "<s>", "</s>", "<image>", "yes", "no", *COLOURS, "a", "b", "what", "colour", "is", "it", "answer",
    "USER:", "ASSISTANT:", "?",
]  # fmt: skip
WIDTH = 64


def tokenizer():
    """Of whole words; every text begins with <s>."""
    transformers = pytest.importorskip("transformers", reason="needs the extra 'hf'")
    tokenizers = pytest.importorskip("tokenizers", reason="needs the extra 'hf'")
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def _llama():
    transformers = pytest.importorskip("transformers", reason="needs the extra 'hf'")
    return transformers.LlamaConfig(
        vocab_size=len(WORDS), hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=96, bos_token_id=1, eos_token_id=2, tie_word_embeddings=False,
    )  # fmt: skip


def shaken(model, by: float = 0.1):
    """The model, every parameter of which counts."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * by)
    return model.eval()


def save_llava(folder: Path, select: str = "default", layer=-2, tower: str = "clip", **vision):
    """A random LLaVA of ``transformers`` in a folder; the model."""
    transformers = pytest.importorskip("transformers", reason="needs the extra 'hf'")
    shape = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48}
    kinds = {"clip": transformers.CLIPVisionConfig, "siglip": transformers.SiglipVisionConfig}
    config = transformers.LlavaConfig(
        vision_config=kinds[tower](**shape, image_size=32, patch_size=8, **vision), text_config=_llama(),
        image_token_index=WORDS.index("<image>"), vision_feature_layer=layer, vision_feature_select_strategy=select,
        image_seq_length=16, tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(0)
    model = shaken(transformers.LlavaForConditionalGeneration(config))
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return model


def save_language(folder: Path):
    """A random causal language model of ``transformers`` in a folder; the model."""
    transformers = pytest.importorskip("transformers", reason="needs the extra 'hf'")
    torch.manual_seed(1)
    model = shaken(transformers.LlamaForCausalLM(_llama()), 0.2)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return model


@cache
def tiny_language(reads_class: bool = True):
    """Projector and language model with random weights, for the tokens of `tiny_vit`."""
    from atm.language import Language, two_layers

    transformers = pytest.importorskip("transformers", reason="needs the extra 'hf'")
    torch.manual_seed(2)
    model = shaken(transformers.LlamaForCausalLM(_llama()), 0.2).requires_grad_(False)
    return Language(model, two_layers(24, WIDTH), tokenizer(), PROMPT, reads_class).eval()


@cache
def tiny_asked():
    """A victim of random weights that answers questions."""
    from atm.asked_encoder import AskedEncoder
    from atm.victims.towers import lower_layers

    return AskedEncoder(lower_layers(tiny_vit(), 2), tiny_language(), (0.5,), (0.5,)).eval().requires_grad_(False)


def paint(path: Path, colour: str, seed: int, side: int = 32) -> None:
    """A picture of one colour, darker from place to place and from pixel to pixel, each in its own way."""
    random = np.random.default_rng(seed)
    grain = random.integers(-20, 20, (4, 4, 1)).repeat(side // 4, 0).repeat(side // 4, 1)
    grain = grain + random.integers(-15, 15, (side, side, 1))
    pixels = (np.array(COLOURS[colour]) + grain).clip(0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_questions(folder: Path, count: int, split: str = "test", first: int = 0) -> None:
    """Pictures in the order of the colours and, as easy-VQA has them, two questions about each."""
    names, rows = list(COLOURS), []
    for number in range(first, first + count):
        colour = names[number % len(names)]
        paint(folder / split / "images" / f"{number}.png", colour, number)
        rows.append(["what colour is it ?", colour, number])
        rows.append(["is it red ?", "yes" if colour == "red" else "no", number])
    (folder / split / "questions.json").write_text(json.dumps(rows), encoding="utf-8")
