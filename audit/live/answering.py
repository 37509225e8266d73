"""What a server makes of frames: each is read on its own, and several of one policy are answered together.

Tokens of different pictures never meet (`atm.tokens`), so a frame's answer is that which it would get alone, but for
the rounding of matrix products, whose order of summation may depend on how many rows they have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from atm.channels import Received
from atm.link import Link
from atm.tokens import TokenBatch
from audit.live.protocol import Frame, MessageError
from audit.live.system import Mode


@dataclass(frozen=True)
class Heard:
    """One frame behind the receiver.

    Attributes:
        mode: the policy that it was made under.
        symbols: ``[T, k]`` complex.
        told: its tokens without values, with what of them is on the wire.
        side: ``[1, s]``, of the codec.
        snr_db: one number, or ``[T, k]`` for a codec that weighs every symbol.
        bits: of the header.
    """

    mode: Mode
    symbols: Tensor
    told: TokenBatch
    side: Tensor
    snr_db: float | Tensor
    bits: int

    @property
    def mean_snr_db(self) -> float:
        """Of the frame."""
        return float(torch.as_tensor(self.snr_db, dtype=torch.float32).mean())


def heard(mode: Mode, frame: Frame) -> Heard:
    """A frame as its receiver reads it.

    Raises:
        MessageError: it is none of this system's.
        HeaderError: likewise.
    """
    link, per_token, total = mode.link, mode.link.codec.symbols_per_token, frame.tokens
    if frame.per_token != per_token:
        raise MessageError(f"{frame.per_token} symbols a token, where the codec sends {per_token}")
    symbols = frame.tensor().to(link.device)
    if total > mode.most_tokens:
        raise MessageError(f"a frame of {total} tokens, where a picture has at most {mode.most_tokens}")
    told, side, bits = mode.header.read(frame.header, total)
    snr, told = frame.quality(), told.to(link.device)
    arrived = link.tuned(Received(symbols, snr.to(link.device) if isinstance(snr, Tensor) else snr), told.lengths)
    return Heard(mode, arrived.symbols, told, side.to(link.device), arrived.snr_db, bits)


@torch.no_grad()
def logits(frames: Sequence[Heard]) -> Tensor:
    """The answers ``[B, classes]`` to frames of one policy."""
    link = frames[0].mode.link
    told = TokenBatch.cat([each.told for each in frames])
    symbols, side = torch.cat([each.symbols for each in frames]), torch.cat([each.side for each in frames])
    return link.answer(link.receive(symbols, side, told, _snr_of(link, frames))).float().cpu()


def _snr_of(link: Link, frames: Sequence[Heard]) -> float | Tensor:
    """One number where all frames have the same, ``[T, k]`` where a soft codec has one for each symbol, or ``[B]``."""
    found = [each.snr_db for each in frames]
    first = found[0]
    if not isinstance(first, Tensor) and all(not isinstance(each, Tensor) and each == first for each in found):
        return first
    parts = [torch.as_tensor(each, dtype=torch.float32, device=link.device) for each in found]
    if link.codec.soft:
        return torch.cat([part.expand(each.symbols.shape) for part, each in zip(parts, frames, strict=True)])
    return torch.cat([part.reshape(1) for part in parts])
