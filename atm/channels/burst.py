"""Bursts of lost symbols (Gilbert 1960, Elliott 1963)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from atm.channels.base import Channel, Received, frames, through


@dataclass(frozen=True)
class Burst(Channel):
    """Gilbert-Elliott erasures: a two-state Markov chain over an image's symbols; in the bad state only noise is heard.

    The chain begins every frame in its stationary distribution and leaves the bad state with probability 1 / length.

    Attributes:
        snr_db: of the symbols that arrive.
        rate: of symbols that are lost, in the long run, in [0, 1).
        length: mean symbols of a burst, at least that of independent losses, 1 / (1 - rate).
        csi: whether the receiver knows which symbols were lost; it then takes them for 0, and for noise otherwise.
    """

    name: ClassVar[str] = "burst"
    snr_db: float
    rate: float = 0.1
    length: float = 16.0
    csi: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise self.refuse("rate", "a share of the symbols in [0, 1)")
        independent = 1 / (1 - self.rate)
        if self.length < independent * (1 - 1e-9):
            raise self.refuse("length", f"at least {independent:g} symbols, as of independent losses at that rate")

    def carry(
        self, symbols: Tensor, generator: torch.Generator | None = None, lengths: Tensor | None = None
    ) -> Received:
        """Erases the bursts and adds the noise."""
        arrives = (~self.lost(symbols, generator, lengths)).to(symbols.dtype)
        return through(symbols, arrives, self.snr_db, self.csi, generator)

    def lost(self, symbols: Tensor, generator: torch.Generator | None = None, lengths: Tensor | None = None) -> Tensor:
        """``[T, k]`` bool: which symbols are erased.

        One uniform number moves each symbol's chain: below ``p`` (good to bad) the state becomes or stays bad, from
        ``1 - r`` on (``r``: bad to good) it becomes or stays good, and between them it stays what it was. So the state
        is what the last deciding number said, and needs no loop.
        """
        leave = 1 / self.length
        enter = leave * self.rate / (1 - self.rate)
        _, frame = frames(symbols, lengths)
        drawn = torch.rand(symbols.numel(), generator=generator).to(symbols.device)
        each = frame.repeat_interleave(symbols.shape[1])
        first = torch.ones_like(each, dtype=torch.bool)
        first[1:] = each[1:] != each[:-1]
        bad = torch.where(first, drawn < self.rate, drawn < enter)
        decides = first | bad | (drawn >= 1 - leave)
        place = torch.arange(len(drawn), device=drawn.device)
        return bad[torch.where(decides, place, 0).cummax(0).values].view(symbols.shape)
