"""Real photographs for benchmarks: square crops of those inside scikit-image's wheel. Needs no network."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np
import torch
from PIL import Image
from torch import Tensor

NAMES = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "clock_motion.png", "coffee.png", "coins.png",
    "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "page.png",
    "retina.jpg", "rocket.jpg",
)  # fmt: skip


@cache
def photographs(count: int, size: int, seed: int = 0) -> Tensor:
    """``[count, 3, size, size]`` float in [0, 1]: crops of half to all of a photograph's height or width, resized.

    Args:
        count: crops, taken from the photographs in turn.
        size: side in pixels.
        seed: of where the crops lie.
    """
    generator = np.random.default_rng(seed)
    return torch.stack([_crop(NAMES[i % len(NAMES)], size, generator) for i in range(count)])


def _crop(name: str, size: int, generator: np.random.Generator) -> Tensor:
    with Image.open(str(files("skimage.data") / name)) as image:
        side = int(min(image.size) * generator.uniform(0.5, 1.0))
        left, top = (int(generator.integers(0, extent - side + 1)) for extent in image.size)
        box = (left, top, left + side, top + side)
        crop = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, box)
    return torch.from_numpy(np.array(crop)).permute(2, 0, 1).float() / 255
