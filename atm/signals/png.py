"""Arrays in [0, 1] as PNG of 8 bits a channel, and back."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def store(arrays: Tensor) -> list[bytes]:
    """The content of a file for each of ``[B, C, H, W]``, C being 1 or 3."""
    files = []
    for pixels in (arrays.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu():
        file = io.BytesIO()
        Image.fromarray(pixels.squeeze(-1).numpy()).save(file, format="PNG")  # Pillow wants grey as [H, W]
        files.append(file.getvalue())
    return files


def restore(files: Sequence[bytes]) -> Tensor:
    """``[B, 3, H, W]``; grey arrays have three equal channels."""
    arrays = []
    for content in files:
        with Image.open(io.BytesIO(content)) as image:
            arrays.append(torch.from_numpy(np.array(image.convert("RGB"))))
    return torch.stack(arrays).permute(0, 3, 1, 2).float() / 255
