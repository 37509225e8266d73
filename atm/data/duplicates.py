"""Near-duplicates: pictures of the same thing in another compression, size, brightness or contrast, mirrored or not.

Copies of the same pixels are found by their hashes; an adversary who holds another version of an attacked picture knows
what she ought to find out just as well.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from atm.data.sets import ImageSet

# Grey thumbnails are compared: sides, and correlations from which pictures count as the same at each of them. Of 1,500
# test pictures of CIFAR-10 or Imagenette 1 in 100 resembles some other one more than .942 at 8 pixels and .907 at 16.
# Of pictures saved as JPEG of quality 30, halved in size, darkened, with less contrast or noise of 10%, at least 98 in
# 100 reach both bounds; of those cropped by a tenth 97 and 52 in 100 reach the first.
COARSE, FINE = (8, 0.95), (16, 0.85)
SMALL = 0.98  # at 8 pixels, of pictures that have no 16; those of fewer than 8 a side are never called the same
AT_ONCE = 512  # pictures in memory


Alike = Callable[[ImageSet, ImageSet], Tensor | None]
"""Of the adversary's pictures and the attacked ones to ``[N]`` bool, which of hers show what an attacked one shows;
None where that cannot be told."""


def pictures(own: ImageSet, attacked: ImageSet) -> Tensor | None:
    """`Alike` of pictures: thumbnails that correlate, mirrored or not."""
    bounds = _bounds(min(own.pixels.shape[2:]))
    if not bounds:
        return None
    known = [torch.cat([thumbnails(part, side) for part in attacked.batches(AT_ONCE)]) for side, _ in bounds]
    return torch.cat([_alike(part, known, bounds) for part in own.batches(AT_ONCE)])


def _bounds(pixels: int) -> list[tuple[int, float]]:
    """Sides of thumbnails and correlations, for pictures whose shorter side has so many pixels."""
    if pixels >= FINE[0]:
        return [COARSE, FINE]
    return [(COARSE[0], SMALL)] if pixels >= COARSE[0] else []


def thumbnails(images: Tensor, side: int) -> Tensor:
    """``[B, side * side]`` grey values of ``[B, C, H, W]``, of mean 0 and length 1; a plain picture's are zero."""
    values = adaptive_avg_pool2d(images.mean(1, keepdim=True), side).flatten(1)
    values = values - values.mean(1, keepdim=True)
    plain = values.abs().amax(1, keepdim=True) < 1 / 255
    return normalize(values.masked_fill(plain, 0.0))


def _alike(images: Tensor, known: list[Tensor], bounds: list[tuple[int, float]]) -> Tensor:
    """``[B]`` bool, whether some victim is the same picture or its mirror image, by the victims' thumbnails."""
    found = [torch.ones(len(images), len(known[0]), dtype=torch.bool) for _ in range(2)]
    for mirrored, view in enumerate((images, images.flip(3))):
        for theirs, (side, bound) in zip(known, bounds, strict=True):
            found[mirrored] &= (thumbnails(view, side) @ theirs.T) >= bound
    return (found[0] | found[1]).any(1)


def apart(own: ImageSet, attacked: ImageSet, alike: Alike = pictures) -> tuple[ImageSet, int]:
    """The adversary's pictures without those that are near-duplicates of an attacked one, and how many these were.

    Args:
        own: the adversary's pictures.
        attacked: the victims, of the same size.
        alike: what near-duplicates are.
    """
    found = alike(own, attacked)
    if found is None:
        return own, 0
    keep = (~found).nonzero().squeeze(1)
    return (own if len(keep) == len(own) else own.subset(keep)), len(own) - len(keep)
