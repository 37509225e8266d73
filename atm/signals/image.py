"""Pictures: arrays ``[C, H, W]`` in [0, 1], cut into rectangular patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from atm.signals import png
from atm.signals.arrays import ArraySignal
from privacy_metrics.leakage import SSIM_BAR, Bar


@dataclass(frozen=True)
class ImageSignal(ArraySignal):
    """Pictures of one size; a run keeps them as PNG."""

    name: ClassVar[str] = "image"
    noun: ClassVar[str] = "picture"
    part: ClassVar[str] = "patch"
    parts: ClassVar[str] = "patches"
    content: ClassVar[str] = "pixels"
    leakage: ClassVar[str] = "ssim"
    bar: ClassVar[Bar] = SSIM_BAR
    suffix: ClassVar[str] = "png"
    divisible: ClassVar[bool] = True

    def store(self, signals: Tensor) -> list[bytes]:
        """As PNG of 8 bits a channel."""
        return png.store(signals)

    @classmethod
    def restore(cls, files: Sequence[bytes]) -> Tensor:
        """``[B, 3, H, W]``; grey scores the same."""
        return png.restore(files)
