"""Small models saved as people save them, and what they answer by themselves."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from atm.data import ImageSet
from atm.policy import MergePolicy
from atm.victims import Victim

NAME = "vit_tiny_patch16_224"


def model(name: str = NAME, **options) -> nn.Module:
    """Timm's model with weights of which none is near zero, for small images unless ``options`` say otherwise."""
    torch.manual_seed(0)
    made = timm.create_model(name, **({"img_size": 32, "patch_size": 8, "num_classes": 10} | options)).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return made


def save(state: dict[str, Tensor], path: Path) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
    return path


def images(*shape: int, count: int = 3) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(1))


def pictures(classes: tuple[str, ...], size: int = 32, each: int = 2, seed: int = 0) -> ImageSet:
    """Pictures of noise whose brightness tells their class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(classes)).repeat(each)
    noise = torch.rand(len(labels), 3, size, size, generator=generator)
    bright = labels[:, None, None, None] / max(len(classes) - 1, 1)
    return ImageSet("made", (255 * (0.3 * noise + 0.7 * bright)).byte(), labels, classes)


@torch.no_grad()
def answer(victim: Victim, batch: Tensor) -> Tensor:
    """What the victim answers without merging."""
    policy = MergePolicy.preset("none", victim.encoder.depth)
    return victim.encoder.finish(victim.encoder(batch, policy).tokens, policy)


@torch.no_grad()
def expected(made: nn.Module, batch: Tensor, mean=(0.5,), std=(0.5,)) -> Tensor:
    """What the model itself answers."""
    mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (mean, std))
    return made((batch - mean) / std)
