"""Training of victims: an ordinary supervised recipe for small vision transformers, in bfloat16 where it pays."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from kornia.augmentation import AugmentationSequential, RandomCrop, RandomHorizontalFlip
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn.functional import cross_entropy

from atm import precision
from atm.data import ImageSet
from atm.device import AUTO, resolve
from atm.encoder import Encoder
from atm.victims.own import build_vit

MEAN, STD = 0.5, 0.25  # of every channel


@dataclass(frozen=True)
class Recipe:
    """How a victim is trained.

    Attributes:
        patch_size: side of a patch in pixels.
        width: values per token.
        depth: transformer layers.
        heads: attention heads.
        stem: ``patch`` for one strided convolution, ``conv`` for a few 3x3 ones.
        epochs: passes over the training images.
        batch: images per step.
        rate: peak learning rate of AdamW; one warm-up, then a cosine to zero.
        decay: weight decay.
        smoothing: label smoothing.
        drop_path: stochastic depth rate.
    """

    patch_size: int = 8
    width: int = 128
    depth: int = 6
    heads: int = 4
    stem: str = "patch"
    epochs: int = 30
    batch: int = 128
    rate: float = 1e-3
    decay: float = 0.05
    smoothing: float = 0.1
    drop_path: float = 0.0


# Recipes of the shipped victims; other data starts from the one whose images are nearest in size.
RECIPES: dict[str, Recipe] = {
    "photos": Recipe(epochs=40, rate=1.5e-3),
    "cifar10": Recipe(patch_size=4, width=192, depth=6, heads=3, stem="conv", epochs=12, drop_path=0.05),
}


def architecture(recipe: Recipe, shape: Sequence[int], classes: int) -> dict[str, Any]:
    """Keyword arguments of `atm.victims.own.build_vit` for a recipe, images ``(C, H, W)`` and a number of classes."""
    channels, height, width = shape
    return {
        "img_size": (height, width),
        "in_chans": channels,
        "patch_size": recipe.patch_size,
        "embed_dim": recipe.width,
        "depth": recipe.depth,
        "num_heads": recipe.heads,
        "num_classes": classes,
        "stem": recipe.stem,
    }


def train_victim(
    train: ImageSet,
    test: ImageSet,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: str = AUTO,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[VisionTransformer, dict[str, Any]]:
    """Train a victim; the model and the description that goes into its file.

    Args:
        train: training images, all of one shape, which becomes the victim's.
        test: images that accuracy is measured on; they choose nothing.
        recipe: architecture and schedule.
        seed: of weights, order and augmentation.
        device: to train on; the model comes back on the CPU.
        report: called with one line per epoch.
    """
    torch.manual_seed(seed)
    place = resolve(device)
    channels, *size = train.pixels.shape[1:]
    mean, std = (MEAN,) * channels, (STD,) * channels
    shape = architecture(recipe, train.pixels.shape[1:], len(train.classes))
    vit = build_vit({**shape, "drop_path_rate": recipe.drop_path}).to(place).to(memory_format=torch.channels_last)
    encoder = Encoder(vit, mean, std).to(place)
    blocks: Any = vit.blocks
    for block in blocks:
        block.attn.fused_attn = place.type != "cpu"  # in bfloat16 on a CPU the fused kernel takes twice as long
    augment = AugmentationSequential(
        RandomCrop((size[0], size[1]), padding=min(size) // 8, padding_mode="reflect", cropping_mode="slice"),
        RandomHorizontalFlip(),
        data_keys=["input"],
    )
    optimizer = torch.optim.AdamW(vit.parameters(), recipe.rate, weight_decay=recipe.decay, fused=True)
    steps = max(len(train) // recipe.batch, 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.rate, total_steps=recipe.epochs * steps, pct_start=0.15
    )
    begun = time.monotonic()
    for epoch in range(recipe.epochs):
        vit.train()
        total = 0.0
        for rows in torch.randperm(len(train))[: steps * recipe.batch].view(steps, -1):
            images = augment(train.pixels[rows].to(place).float() / 255)
            with precision.fast(place):
                logits = vit(encoder.normalise(images).contiguous(memory_format=torch.channels_last))
            loss = cross_entropy(logits.float(), train.labels[rows].to(place), label_smoothing=recipe.smoothing)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(vit.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        seconds = time.monotonic() - begun
        accuracy = evaluate(vit, encoder, test) if epoch % 5 == 4 or epoch == recipe.epochs - 1 else None
        shown = "" if accuracy is None else f", test accuracy {accuracy:.1%}"
        report(f"epoch {epoch + 1}/{recipe.epochs}: loss {total / steps:.3f}{shown}, {seconds:.0f} s")
    vit = vit.cpu().eval()
    description = {
        "kind": "victim",
        "architecture": shape,
        "mean": mean,
        "std": std,
        "classes": train.classes,
        "data": {"name": train.name, "images": len(train), "digest": train.digest},
        "recipe": asdict(recipe),
        "seed": seed,
        "accuracy": evaluate(vit, encoder.cpu(), test),
        "test_images": len(test),
    }
    return vit, description


@torch.no_grad()
def evaluate(vit: VisionTransformer, encoder: Encoder, data: ImageSet, batch: int = 256) -> float:
    """Fraction of images that timm's own forward pass classifies correctly."""
    vit.eval()
    right = 0
    for begin in range(0, len(data), batch):
        images, labels = _batch(data, slice(begin, begin + batch))
        logits = vit(encoder.normalise(images.to(encoder.mean.device)))
        right += int((logits.argmax(-1).cpu() == labels).sum())
    return right / len(data)


def _batch(data: ImageSet, rows: slice) -> tuple[Tensor, Tensor]:
    return data.pixels[rows].float() / 255, data.labels[rows]
