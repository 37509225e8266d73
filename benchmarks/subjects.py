"""What the engine is measured on: a victim, inputs for it, and the same model in the library that it comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from atm.data.kinds import source
from atm.encoder import Encoder
from atm.errors import AtmError, unknown
from atm.text_encoder import TextEncoder
from atm.victims import load_victim, victims
from benchmarks.photographs import photographs
from privacy_metrics.words import NO_WORD

VITS = ("vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224")


@dataclass(frozen=True)
class Subject:
    """One model.

    Attributes:
        encoder: as this engine runs it.
        draw: of a number and a seed, so many inputs as the encoder takes them.
        reference: of inputs, the call that the library makes of them; what is prepared for it is no part of the call.
    """

    encoder: Encoder
    draw: Callable[[int, int], Tensor]
    reference: Callable[[Tensor], Callable[[], object]]


def subject(name: str, data: str | None = None, size: str | None = None) -> Subject:
    """A model by name.

    Args:
        name: a shipped victim; a timm name, which gets random weights; or a folder of transformers with Whisper or
            BERT and its kin.
        data: what a folder's model is given, see ``atm attack --data``; others see photographs.
        size: window of a model that hears, such as ``80x100``.

    Raises:
        AtmError: there is no such model, or no data for it.
    """
    if Path(name).is_dir():
        if data is None:
            raise AtmError(f"{name} needs --data with what it reads or hears")
        return _transformers(name, data, size)
    if name in victims():
        encoder = load_victim(name).encoder
    else:
        if not timm.is_model(name):
            raise unknown("model", name, [*victims(), *timm.list_models()])
        torch.manual_seed(0)
        encoder = Encoder(timm.create_model(name, pretrained=False)).eval().requires_grad_(False)
    return Subject(
        encoder,
        lambda count, seed: photographs(count, encoder.input_shape[1], seed=seed).to(encoder.mean),
        lambda images: lambda: encoder.vit(encoder.normalise(images)),
    )


def _transformers(name: str, data: str, size: str | None) -> Subject:
    import transformers

    encoder = load_victim(name, image_size=size).encoder
    model: Any = transformers.AutoModel.from_pretrained(name, dtype=torch.float32).eval().requires_grad_(False)
    if isinstance(encoder, TextEncoder):
        reference = partial(_reads, model, encoder.vit.special)
    else:
        reference = partial(_hears, _of_window(model.encoder, encoder.patch_grid[1]), encoder)
    signal, kind = encoder.signal, source(encoder.signal)

    def draw(count: int, seed: int) -> Tensor:
        return kind.load(signal, data, limit=count, seed=seed).inputs

    return Subject(encoder, draw, reference)


def _reads(model: Any, special: tuple[int, int], sentences: Tensor) -> Callable[[], object]:
    """Sentences filled up to the longest, as transformers' tokenizers fill them up."""
    counts = (sentences != NO_WORD).sum(1)
    sentences = sentences[:, : int(counts.max())]
    ids = nn.functional.pad(sentences.clamp_min(0), (1, 1))
    ids[:, 0] = special[0]
    ids[torch.arange(len(ids)), counts + 1] = special[1]
    mask = (torch.arange(ids.shape[1]) < (counts + 2)[:, None]).long()
    return lambda: model(input_ids=ids, attention_mask=mask)


def _hears(model: Any, encoder: Encoder, spectrograms: Tensor) -> Callable[[], object]:
    return lambda: model(encoder.normalise(spectrograms)[:, 0])


def _of_window(model: Any, positions: int) -> Any:
    """Whisper's encoder for windows of so many positions, the first."""
    model.config.max_source_positions = model.max_source_positions = positions
    model.embed_positions = nn.Embedding.from_pretrained(model.embed_positions.weight[:positions].clone())
    return model
