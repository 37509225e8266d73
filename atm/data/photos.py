"""Data set ``photos``: labelled 64x64 crops of the photographs inside scikit-image's wheel. Needs no network.

The class of a crop is the photograph it was cut from. Every photograph is divided into square blocks like a
checkerboard; crops of the black ones train, crops of the white ones test, so no pixel of a photograph is in both, and
both show the same kinds of content. Nearly uniform blocks carry no class and are left out. Turns, flips and a change of
light, colour and sharpness make the task less than trivial.

The shipped victim learned from the black blocks. An adversary who trained on what it makes of those would know its
features of pictures that it was trained on, and attack features of pictures that it was not. So both are given white
blocks in `victims` and `adversarys`: in each photograph, every other one to either side.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

Split = Literal["train", "test"]

SIDE = 64  # pixels of a crop
BLOCK = 80  # source pixels of a block; a crop is a square of 64 to 80 of them, resized
LEAST_DEVIATION = 8.0  # of grey levels; below it a block counts as uniform
SEED = 2509
TRAIN_CROPS = 16  # per block
VICTIM_CROPS = 3  # per block at most
ADVERSARY_CROPS = 500  # likewise; of the 1,785 squares of a block so many overlap in nearly all of their pixels
HELD_OUT = 0.1  # of the adversary's blocks, for her validation pictures

# The file of each photograph in scikit-image's wheel, and its licence as scikit-image's documentation states it.
PHOTOGRAPHS: dict[str, str] = {
    "astronaut": "astronaut.png",
    "brick": "brick.png",
    "camera": "camera.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "coins": "coins.png",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "hubble": "hubble_deep_field.jpg",
    "ihc": "ihc.png",
    "moon": "moon.png",
    "motorcycle": "motorcycle_left.png",
    "page": "page.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
    "text": "text.png",
}
SHRINK = {"hubble": 2, "retina": 3}  # so that all photographs have a comparable scale
LICENCES: dict[str, str] = {
    "astronaut": "no known copyright restrictions, public domain (NASA)",
    "brick": "CC0 (CC0Textures)",
    "camera": "CC0 by the photographer (Lav Varshney)",
    "chelsea": "CC0 by the photographer (Stéfan van der Walt)",
    "coffee": "CC0 by the photographer (Rachel Michetti)",
    "coins": "no known copyright restrictions (Brooklyn Museum collection)",
    "grass": "CC0 (linolafett, DeviantArt)",
    "gravel": "CC0 (CC0Textures)",
    "hubble": "public domain (NASA)",
    "ihc": "no known copyright restrictions",
    "moon": "licence not stated by scikit-image",
    "motorcycle": "Middlebury stereo benchmark 2014; licence not stated by scikit-image",
    "page": "licence not stated by scikit-image",
    "retina": "CC0 1.0",
    "rocket": "public domain (SpaceX)",
    "text": "no known copyright restrictions, public domain",
}


@dataclass(frozen=True)
class Jitter:
    """How much a crop's light and colour change: each factor is drawn from ``1 ± x``, the hue from ``± x`` turns."""

    brightness: float = 0.15
    contrast: float = 0.15
    saturation: float = 0.15
    hue: float = 0.02
    grey: float = 0.0  # fraction of crops without colour
    blur: float = 0.5  # largest standard deviation of a Gaussian blur, in pixels


JITTER = Jitter()


@dataclass(frozen=True)
class Crop:
    """One crop: its class, and the square of (shrunk) source pixels that it was cut from."""

    label: int
    top: int
    left: int
    side: int
    block: int
    number: int  # among the crops of the block


@cache
def photograph(name: str) -> Tensor:
    """A photograph as uint8 ``[3, H, W]``; large ones are shrunk by averaging whole squares of pixels.

    A shrunk pixel then comes from one block of the photograph alone, so blocks stay disjoint down to the original.
    """
    with Image.open(str(files("skimage.data") / PHOTOGRAPHS[name])) as file:
        image = file.convert("RGB")
        return torch.from_numpy(np.array(image.reduce(SHRINK.get(name, 1)))).permute(2, 0, 1)


def blocks(name: str, split: Split) -> Iterator[tuple[int, int, int]]:
    """Number, top and left of the blocks of a photograph that belong to a split."""
    pixels = photograph(name)
    rows, columns = pixels.shape[1] // BLOCK, pixels.shape[2] // BLOCK
    for row in range(rows):
        for column in range(columns):
            part = pixels[:, row * BLOCK : (row + 1) * BLOCK, column * BLOCK : (column + 1) * BLOCK]
            black = (row + column) % 2 == 0
            if black == (split == "train") and float(part.float().mean(0).std()) >= LEAST_DEVIATION:
                yield row * columns + column, row * BLOCK, column * BLOCK


def crops(split: Split, per_block: int) -> list[Crop]:
    """The squares that a split's crops are cut from, block by block. Crop ``i`` is the same on every machine."""
    found = []
    for label, name in enumerate(PHOTOGRAPHS):
        for block, top, left in blocks(name, split):
            for number in range(per_block):
                generator = _generator(label, block, number, 0)
                side = int(generator.integers(SIDE, BLOCK + 1))
                down, right = generator.integers(0, BLOCK - side + 1, 2).tolist()
                found.append(Crop(label, top + down, left + right, side, block, number))
    return found


def build(split: Split, per_block: int | None = None, jitter: Jitter = JITTER) -> tuple[Tensor, Tensor]:
    """Crops ``[N, 3, 64, 64]`` uint8 and labels ``[N]`` int64 of a split.

    Args:
        split: ``train`` or ``test``.
        per_block: crops per block; by default `TRAIN_CROPS` for training and 1 for testing, where no two crops overlap.
        jitter: how much light and colour change.
    """
    chosen = crops(split, per_block or (TRAIN_CROPS if split == "train" else 1))
    return render(chosen, jitter)


def victims(count: int, seed: int) -> list[Crop]:
    """Crops to attack, of test blocks that the adversary has nothing of; fewer where there are not so many.

    There are 110 such blocks. Up to so many crops are of different blocks; more than that are up to `VICTIM_CROPS` a
    block, which overlap.
    """
    per_block = min(-(-count // len(_side(0, 1))), VICTIM_CROPS)
    return _rounds(_side(0, per_block), count, seed)


def adversarys(count: int, held: int, seed: int) -> tuple[list[Crop], list[Crop]]:
    """The adversary's crops, of test blocks without victims: to learn from, and for validation from other blocks.

    Args:
        count: crops to learn from; as many of each block as it takes, and fewer where that is above `ADVERSARY_CROPS`.
        held: crops for validation.
        seed: of the choice.
    """
    where = sorted({(crop.label, crop.block) for crop in _side(1, 1)})
    order = np.random.default_rng((SEED, seed)).permutation(len(where))
    last = {where[i] for i in order[-max(round(HELD_OUT * len(where)), 1) :]}
    most = min(max(-(-count // (len(where) - len(last))), -(-held // len(last))), ADVERSARY_CROPS)
    parts: tuple[list[Crop], list[Crop]] = ([], [])
    for crop in _side(1, most):
        parts[(crop.label, crop.block) in last].append(crop)
    return _rounds(parts[0], count, seed), _rounds(parts[1], held, seed)


def _side(side: int, per_block: int) -> list[Crop]:
    """The test crops of one side, 0 the victims' and 1 the adversary's."""
    numbers = {
        (label, block): number
        for label, name in enumerate(PHOTOGRAPHS)
        for number, (block, _, _) in enumerate(blocks(name, "test"))
    }
    return [crop for crop in crops("test", per_block) if numbers[crop.label, crop.block] % 2 == side]


def _rounds(chosen: list[Crop], count: int, seed: int) -> list[Crop]:
    """So many of the crops in random order, the first crops of all blocks before the second ones."""
    order = np.random.default_rng((SEED, seed)).permutation(len(chosen))
    return sorted((chosen[i] for i in order), key=lambda crop: crop.number)[:count]


def render(chosen: Sequence[Crop], jitter: Jitter = JITTER) -> tuple[Tensor, Tensor]:
    """The pictures of crops, ``[N, 3, 64, 64]`` uint8, and their labels ``[N]`` int64."""
    names = list(PHOTOGRAPHS)
    images = torch.empty(len(chosen), 3, SIDE, SIDE, dtype=torch.uint8)
    for i, crop in enumerate(chosen):
        pixels = photograph(names[crop.label])
        square = pixels[:, crop.top : crop.top + crop.side, crop.left : crop.left + crop.side]
        generator = _generator(crop.label, crop.block, crop.number, 1)
        images[i] = _change(tv.resize(square, [SIDE, SIDE]), generator, jitter)
    return images, torch.tensor([crop.label for crop in chosen])


def _change(image: Tensor, generator: np.random.Generator, jitter: Jitter) -> Tensor:
    turns, flip, grey = generator.integers(0, 4), generator.random() < 0.5, generator.random() < jitter.grey
    brightness, contrast, saturation = (
        1 + generator.uniform(-x, x) for x in (jitter.brightness, jitter.contrast, jitter.saturation)
    )
    hue, blur = generator.uniform(-jitter.hue, jitter.hue), generator.uniform(0, jitter.blur)
    image = torch.rot90(image.flip(-1) if flip else image, int(turns), (1, 2))
    image = tv.adjust_hue(tv.adjust_saturation(image, saturation), hue)
    image = tv.adjust_brightness(tv.adjust_contrast(image, contrast), brightness)
    image = tv.rgb_to_grayscale(image, 3) if grey else image
    return tv.gaussian_blur(image, [7, 7], [blur, blur]) if blur > 0.3 else image


def _generator(*key: int) -> np.random.Generator:
    return np.random.default_rng((SEED, *key))
