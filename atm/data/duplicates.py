"""Near-duplicates: pictures of the same thing in another compression, size, brightness or contrast, mirrored or not.

Copies of the same pixels are found by their hashes; an adversary who holds another version of an attacked picture knows
what she ought to find out just as well.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from atm.data.sets import ImageSet

SIDE = 8  # of the thumbnails that are compared
# Their correlation from which pictures count as the same. Of 1,500 test pictures of CIFAR-10 or Imagenette 1 in 100
# resembles some other one more than .942. Of pictures saved as JPEG of quality 30, halved in size, darkened, with less
# contrast or noise of 10%, at least 99 in 100 reach .95; of those cropped by a tenth 97 and 52.
ALIKE = 0.95
AT_ONCE = 512  # pictures in memory


def apart(own: ImageSet, attacked: ImageSet) -> tuple[ImageSet, int]:
    """The adversary's pictures without those that are near-duplicates of an attacked one, and how many these were.

    Args:
        own: the adversary's pictures.
        attacked: the victims, of the same size.
    """
    known = torch.cat([thumbnails(part) for part in attacked.batches(AT_ONCE)])
    alike = [_alike(part, known) for part in own.batches(AT_ONCE)]
    keep = (~torch.cat(alike)).nonzero().squeeze(1)
    return (own if len(keep) == len(own) else own.subset(keep)), len(own) - len(keep)


def thumbnails(images: Tensor) -> Tensor:
    """``[B, SIDE * SIDE]`` grey values of ``[B, C, H, W]``, of mean 0 and length 1; a plain picture's are zero."""
    values = adaptive_avg_pool2d(images.mean(1, keepdim=True), SIDE).flatten(1)
    values = values - values.mean(1, keepdim=True)
    plain = values.abs().amax(1, keepdim=True) < 1 / 255
    return normalize(values.masked_fill(plain, 0.0))


def _alike(images: Tensor, known: Tensor) -> Tensor:
    """``[B]`` bool, whether one of the ``[M, SIDE * SIDE]`` thumbnails is of the same picture or its mirror image."""
    both = torch.stack([thumbnails(images), thumbnails(images.flip(3))])
    return ((both @ known.T) >= ALIKE).any(2).any(0)
