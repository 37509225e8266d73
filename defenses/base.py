"""What defences share: several as one, calibration, and randomness that is the same on every device."""

from __future__ import annotations

import torch
from torch import Tensor

from atm.defence import Defence
from atm.errors import AtmError
from atm.link import Link
from atm.tokens import TokenBatch

MOST_NOISE = 1000  # deviations of the tokens; nothing is left of them long before


class Chain(Defence):
    """Several defences, one after the other.

    Args:
        text: how the user wrote it, its name.
        parts: in the order in which the device applies them.
    """

    def __init__(self, text: str, parts: tuple[Defence, ...]) -> None:
        self.name = text
        self.parts = parts
        for part in parts:
            self.denies |= part.denies

    @property
    def pads(self) -> bool:  # type: ignore[override]
        """Whether any of them does."""
        return any(part.pads for part in self.parts)

    @property
    def drops(self) -> bool:  # type: ignore[override]
        """Whether any of them does."""
        return any(part.drops for part in self.parts)

    def fit(self, link: Link, images: Tensor) -> None:
        """Fit each part on the tokens that those before it let through."""
        for number, part in enumerate(self.parts):
            before = Chain(self.name, self.parts[:number])
            part.fit(link.with_defence(before if number else None), images)

    def protect(self, tokens: TokenBatch, generator: torch.Generator | None = None) -> TokenBatch:
        """All of them in order."""
        for part in self.parts:
            tokens = part.protect(tokens, generator)
        return tokens

    def expected(self, tokens: TokenBatch) -> TokenBatch:
        """What is expected of each, in order."""
        for part in self.parts:
            tokens = part.expected(tokens)
        return tokens

    def flops(self, lengths: Tensor) -> Tensor:
        """Of all of them."""
        return sum((part.flops(lengths) for part in self.parts), torch.zeros(len(lengths), dtype=torch.float64))


@torch.no_grad()
def calibration_tokens(link: Link, images: Tensor, seed: int = 0) -> TokenBatch:
    """The tokens that a device would send of its calibration images, before the codec."""
    tokens = link.encode(images).tokens
    return tokens if link.defence is None else link.defence.protect(tokens, torch.Generator().manual_seed(seed))


def deviation(values: Tensor) -> float:
    """Root mean square of token values ``[T, d]`` around the mean of each of the d: the unit of every noise here."""
    return float((values - values.mean(0)).square().mean().sqrt())


def normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal numbers in the shape, type and place of ``like``, drawn on the CPU."""
    return torch.randn(like.shape, generator=generator, dtype=like.dtype).to(like.device)


def uniform(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Numbers spread evenly over [0, 1) in the shape, type and place of ``like``, drawn on the CPU."""
    return torch.rand(like.shape, generator=generator, dtype=like.dtype).to(like.device)


def check(good: bool, name: str, parameter: float, wanted: str) -> None:
    """Raise `AtmError` about a parameter that a defence cannot have."""
    if not good:
        raise AtmError(f"defence '{name}:{parameter:g}': {wanted}")


def fitted_or_fail(value: object, name: str) -> None:
    """Raise `RuntimeError` where a defence that needs statistics protects before it was fitted."""
    if value is None:
        raise RuntimeError(f"defence {name!r} has not been fitted; use defenses.fitted")
