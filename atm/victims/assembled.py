"""Folders of ``atm train projector``: a projector, and where the tower and the language model that it joins lie.

``config.json`` names tower and language model as the command line did, files relative to the folder; it may be edited
when they move. What they must be is in the projector's own file, by digest.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from atm.documents import Fields, typed
from atm.errors import AtmError
from atm.language import Language, two_layers
from atm.victims import timm_models
from atm.victims.hub import CONFIG, Repository
from atm.victims.loaded import Loaded, parse_size
from atm.victims.towers import asked, causal, lower_layers
from atm.weight_files import load_state, read_weights, state_digest

FAMILY = "atm-asked"
FILE = "projector.safetensors"
PROMPT = "<image>\nQuestion: {question}\nAnswer:"


class Parts(Fields):
    """What ``config.json`` says.

    Attributes:
        model_type: `FAMILY`.
        tower: timm's name.
        weights: a file with the tower's weights; None takes timm's own.
        image_size: of the pictures; None takes what the weights were made for.
        layers: of the tower that are read.
        language: folder or hub name of the language model.
        prompt: see `atm.language.Language`.
    """

    model_type: str
    tower: str
    weights: str | None = None
    image_size: str | None = None
    layers: int
    language: str
    prompt: str = PROMPT


class Joined:
    """Tower and language model, and a projector between them whose weights are random.

    The language model computes in bfloat16, in training as in use; tower and projector in float32.

    Args:
        parts: what they are; files as they can be opened from here.

    Attributes:
        vit: the tower's lower layers.
        mean: that its input is normalised with.
        std: likewise.
        language: projector and language model.
        digests: of tower and language model.

    Raises:
        AtmError: one of them is missing, or of no supported kind.
    """

    def __init__(self, parts: Parts) -> None:
        tower = timm_models.load(parts.tower, parts.weights, parse_size(parts.image_size))
        self.vit, self.mean, self.std = lower_layers(tower.model, parts.layers), tower.mean, tower.std
        model, tokenizer = causal(parts.language)
        projector = two_layers(int(self.vit.embed_dim), int(model.config.hidden_size))
        self.language = Language(model, projector, tokenizer, parts.prompt, reads_class=True)
        self.digests = {"tower": state_digest(self.vit), "language": state_digest(model)}
        model.to(torch.bfloat16)


def load(repository: Repository, raw: Mapping[str, Any]) -> Loaded:
    """The victim in a folder.

    Raises:
        AtmError: the folder is damaged, or what it names has moved or changed.
    """
    folder = Path(repository.name)
    parts = typed(Parts, dict(raw), str(folder / CONFIG))
    description, state = read_weights(folder / FILE, "projector")
    joined = Joined(located(parts, folder))
    for part, digest in joined.digests.items():
        if description.get(part) != digest:
            raise AtmError(f"{folder / FILE} was trained for another {part} than {CONFIG} names")
    projector: nn.Module = joined.language.projector
    load_state(projector, state, folder / FILE)
    told = {"architecture": parts.tower, **{key: value for key, value in description.items() if key != "kind"}}
    return asked(joined.vit, joined.language, joined.mean, joined.std, told)


def located(parts: Parts, folder: Path) -> Parts:
    """The same, its files as they can be opened from here."""
    return _moved(parts, lambda name: str(folder / name) if (folder / name).exists() else name)


def relative(parts: Parts, folder: Path) -> Parts:
    """The same, its files relative to a folder."""
    return _moved(parts, lambda name: os.path.relpath(name, folder) if Path(name).exists() else name)


def _moved(parts: Parts, move: Any) -> Parts:
    weights = None if parts.weights is None else move(parts.weights)
    return parts.model_copy(update={"weights": weights, "language": move(parts.language)})
