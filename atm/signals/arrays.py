"""Arrays ``[C, H, W]`` in [0, 1], cut into rectangular patches: pictures, and all that can be drawn as one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import l1_loss

from atm.errors import AtmError
from atm.signals.base import Signal
from privacy_metrics.windowed import RADIUS, ssim

DENSE = 64  # pixels of a side up to which the loss has a window at every pixel


@dataclass(frozen=True)
class ArraySignal(Signal):
    """Arrays of one size.

    Attributes:
        shape: channels, height and width.
        grid: patches down and across.
    """

    shape: tuple[int, int, int]
    grid: tuple[int, int]

    @property
    def places(self) -> int:
        """Patches of an array."""
        return self.grid[0] * self.grid[1]

    @property
    def patch(self) -> tuple[int, int]:
        """Height and width of a patch in pixels."""
        return self.shape[1] // self.grid[0], self.shape[2] // self.grid[1]

    @property
    def unit(self) -> int:
        """Numbers in a patch."""
        return self.shape[0] * self.patch[0] * self.patch[1]

    def blank(self, count: int) -> Tensor:
        """``[count, C, H, W]`` of grey."""
        return torch.full((count, *self.shape), 0.5)

    def to_units(self, signals: Tensor) -> Tensor:
        """``[B, C, H, W]`` -> ``[B, P, C * h * w]``, patch by patch in the order of a vision transformer."""
        (rows, columns), (height, width) = self.grid, self.patch
        cut = signals.reshape(len(signals), self.shape[0], rows, height, columns, width)
        return cut.permute(0, 2, 4, 1, 3, 5).reshape(len(signals), rows * columns, -1)

    def from_units(self, units: Tensor) -> Tensor:
        """The inverse of `to_units`."""
        cut = units.reshape(len(units), *self.grid, self.shape[0], *self.patch)
        return cut.permute(0, 3, 1, 4, 2, 5).reshape(len(units), *self.shape)

    def clip(self, signals: Tensor) -> Tensor:
        """Into [0, 1]."""
        return signals.clamp(0, 1)

    def loss(self, estimate: Tensor, truth: Tensor) -> Tensor:
        """L1 plus 1 - SSIM: the first fixes brightness and colour, the second structure (Zhao et al. 2017).

        On large pictures SSIM looks at windows that still overlap but do not stand at every pixel, which would take
        more time at 224 pixels than the network that is trained.
        """
        stride = min(max(min(self.shape[1:]) // DENSE, 1), RADIUS)
        return l1_loss(estimate, truth) + 1 - ssim(estimate, truth, stride).mean()

    def fault(self, signals: Tensor, count: int) -> str | None:
        """Another shape, NaN, or values outside [0, 1]."""
        if signals.shape != (count, *self.shape):
            return f"{self.name}s {list(signals.shape)}, expected {[count, *self.shape]}"
        if not bool(signals.isfinite().all()) or float(signals.min()) < 0 or float(signals.max()) > 1:
            return "pixels that are NaN or outside [0, 1]"
        return None


def arrays(signal: Signal) -> ArraySignal:
    """The signal, for what can deal with arrays alone.

    Raises:
        AtmError: it is of another kind.
    """
    if not isinstance(signal, ArraySignal):
        raise AtmError(f"a {signal.noun} is no array of numbers, which this needs")
    return signal
