"""Pictures for people: PNG, and a picture whose merged patches have their mean colour, as ToMe's authors draw them."""

from __future__ import annotations

import io
import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from atm.tokens import NOWHERE

SIDE = 224  # pixels at least, so that lines between small patches can be seen
DROPPED = 0.5  # grey, of patches that ended in no token


def png_of(image: Tensor) -> bytes:
    """A picture ``[C, H, W]`` in [0, 1] as PNG."""
    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels)).save(file, "PNG")
    return file.getvalue()


def merged(image: Tensor, source: Tensor, grid: tuple[int, int]) -> Tensor:
    """The picture as its tokens divide it, larger.

    Args:
        image: ``[C, H, W]`` in [0, 1].
        source: ``[P]`` int64, the token in which each patch ended, or `NOWHERE`.
        grid: patches down and across.

    Returns:
        ``[C, n H, n W]``: patches of one token in their mean colour, white lines between different tokens, and grey
        where a patch ended in none.
    """
    groups = source.reshape(grid).cpu()
    channels, height, width = image.shape
    cells = image.reshape(channels, grid[0], height // grid[0], grid[1], width // grid[1]).mean((2, 4))
    number = torch.unique(groups, return_inverse=True)[1]
    counts = torch.bincount(number.flatten())
    sums = torch.zeros(channels, len(counts)).index_add(1, number.flatten(), cells.flatten(1))
    painted = (sums / counts)[:, number]
    painted[:, groups == NOWHERE] = DROPPED
    large = math.ceil(SIDE / min(height, width))
    tall, wide = height // grid[0] * large, width // grid[1] * large
    shown = painted.repeat_interleave(tall, 1).repeat_interleave(wide, 2)
    for row in range(1, grid[0]):
        differs = (groups[row] != groups[row - 1]).repeat_interleave(wide)
        shown[:, row * tall, differs] = 1.0
    for column in range(1, grid[1]):
        differs = (groups[:, column] != groups[:, column - 1]).repeat_interleave(tall)
        shown[:, differs, column * wide] = 1.0
    return shown
