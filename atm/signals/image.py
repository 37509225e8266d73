"""Pictures: arrays ``[C, H, W]`` in [0, 1], cut into rectangular patches."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from atm.signals.arrays import ArraySignal
from privacy_metrics.leakage import SSIM_BAR, Bar


@dataclass(frozen=True)
class ImageSignal(ArraySignal):
    """Pictures of one size; a run keeps them as PNG."""

    name: ClassVar[str] = "image"
    noun: ClassVar[str] = "picture"
    content: ClassVar[str] = "pixels"
    leakage: ClassVar[str] = "ssim"
    bar: ClassVar[Bar] = SSIM_BAR
    suffix: ClassVar[str] = "png"

    def store(self, signals: Tensor) -> list[bytes]:
        """As PNG of 8 bits a channel."""
        files = []
        for pixels in (signals.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu():
            png = io.BytesIO()
            Image.fromarray(pixels.squeeze(-1).numpy()).save(png, format="PNG")  # Pillow wants grey as [H, W]
            files.append(png.getvalue())
        return files

    @classmethod
    def restore(cls, files: Sequence[bytes]) -> Tensor:
        """``[B, 3, H, W]``; grey scores the same."""
        pictures = []
        for content in files:
            with Image.open(io.BytesIO(content)) as image:
                pictures.append(torch.from_numpy(np.array(image.convert("RGB"))))
        return torch.stack(pictures).permute(0, 3, 1, 2).float() / 255
