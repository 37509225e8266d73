"""What the device does to its tokens before they leave; a new one is one file in ``defenses/``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from atm.knowledge import Knowledge
from atm.tokens import TokenBatch

if TYPE_CHECKING:
    from atm.link import Link


class Defence(ABC):
    """A defence.

    Attributes:
        name: on the command line and in reports.
        denies: what its secret randomness keeps from an adversary whatever else she knows.
        pads: whether it sends tokens that stand for nothing, of which the server must be told.
        drops: whether it may leave tokens out, so that patches end nowhere.
        fitted_at: the layer after whose tokens it was made, from 1; it protects no others. None before it was fitted.
    """

    name: str
    denies: Knowledge = Knowledge.NOTHING
    pads: ClassVar[bool] = False
    drops: ClassVar[bool] = False
    fitted_at: int | None = None

    def fit(self, link: Link, images: Tensor) -> None:  # noqa: B027 (most defences need no preparation)
        """Prepare on calibration images ``[N, C, H, W]`` of the device, never the victims', before anything is sent.

        Randomness comes from torch's global generator, which is seeded, and is drawn on the CPU.
        """

    @abstractmethod
    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """The tokens that are sent instead.

        Args:
            tokens: as they leave the encoder.
            generator: of all randomness, on the CPU, so that every device draws the same; None is torch's global one.
        """

    def expected(self, tokens: TokenBatch) -> TokenBatch:
        """What stands for `protect` where the draw is not known: an adversary models the device with it.

        By default `protect` itself, which is right where nothing is random.
        """
        return self.protect(tokens)

    def flops(self, lengths: Tensor) -> Tensor:
        """``[B]`` float64: floating-point operations for images of so many tokens ``[B]``; by default nearly none."""
        return torch.zeros(len(lengths), dtype=torch.float64)
