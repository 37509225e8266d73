"""What every channel is: a frozen dataclass of its parameters, written ``name:SNR,option=value``."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from atm.errors import AtmError, unknown

MOST_DECIBELS = 200  # in float32 a weaker signal is none, and weaker noise is none
WEAKEST_GAIN = 1e-12  # of |h|^2; keeps the equaliser finite in the deepest fade


@dataclass(frozen=True)
class Received:
    """What a receiver's antenna and equaliser give.

    Attributes:
        symbols: ``[T, k]`` complex.
        snr_db: what the receiver knows of their quality, in dB: one number, or ``[T, k]`` where it differs.
    """

    symbols: Tensor
    snr_db: float | Tensor

    def per_image(self, lengths: Tensor) -> tuple[Tensor, float | Tensor]:
        """For a codec that takes one SNR for each image: symbols ``[T, k]`` and SNR ``[B]`` in dB.

        A symbol of SNR s is shrunk by s / (1 + s), as the linear estimator of least error does, relative to the image's
        mean g of it; the SNR of the whole is then g / (1 - g). Where an image has one SNR, nothing changes.
        """
        if not isinstance(self.snr_db, Tensor):
            return self.symbols, self.snr_db
        image = torch.repeat_interleave(torch.arange(len(lengths)), lengths).to(self.symbols.device)
        snr = 10 ** (self.snr_db / 10)
        noise = (1 / (1 + snr)).mean(-1)
        lost = torch.zeros(len(lengths), device=noise.device).index_add(0, image, noise)
        lost = lost / lengths.to(noise.device)
        kept = (1 - lost).clamp_min(1e-6)
        weight = torch.where(snr.isinf(), 1.0, snr / (1 + snr)) / kept[image, None]
        return self.symbols * weight, 10 * (kept / lost.clamp_min(1e-12)).log10()


class Channel(ABC):
    """What is between the two antennas.

    A new channel is one file in ``atm/channels/`` with a frozen dataclass that has a ``name`` and `carry`. Its fields
    are its parameters: the SNR first, then options with defaults (numbers, or booleans written yes and no).
    """

    name: ClassVar[str]
    snr_db: float

    @abstractmethod
    def carry(
        self, symbols: Tensor, generator: torch.Generator | None = None, lengths: Tensor | None = None
    ) -> Received:
        """Send symbols.

        Args:
            symbols: ``[T, k]`` complex, average power 1.
            generator: of all randomness; the same state gives the same channel.
            lengths: ``[B]`` tokens per image, whose sum is T; each image is one frame. None is a single frame.
        """

    def __call__(
        self, symbols: Tensor, generator: torch.Generator | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """The received symbols alone."""
        return self.carry(symbols, generator, lengths).symbols

    @classmethod
    def parse(cls, argument: str) -> Self:
        """The channel from what stands behind the colon of its name.

        Raises:
            AtmError: no SNR, or an unknown or impossible option.
        """
        options = {field.name: field for field in fields(cls) if field.name != "snr_db"}  # type: ignore[arg-type]
        snr, *rest = argument.split(",")
        values: dict[str, Any] = {}
        for part in rest:
            key, _, text = part.partition("=")
            if key not in options:
                if not options:
                    raise AtmError(f"channel {cls.name!r} takes only an SNR, got {part!r}")
                raise AtmError(f"channel {cls.name!r}: {unknown('option', key, options)}")
            values[key] = _value(text, options[key].default, f"channel {cls.name!r}: {key}")
        return cls(decibels(snr, cls.name), **values)  # type: ignore[call-arg]

    def __str__(self) -> str:
        changed = [f for f in fields(self) if f.name != "snr_db" and getattr(self, f.name) != f.default]  # type: ignore[arg-type]
        words = [f"{f.name}={_text(getattr(self, f.name))}" for f in changed]
        return f"{self.name}:{','.join([f'{self.snr_db:g}', *words])}"

    def refuse(self, option: str, wanted: str) -> AtmError:
        """The error for an option out of its range."""
        return AtmError(f"channel {self.name!r}: {option} is {getattr(self, option):g}, expected {wanted}")


def noise(like: Tensor, snr_db: float, generator: torch.Generator | None) -> Tensor:
    """Circularly symmetric complex Gaussian noise of variance ``10^(-snr_db / 10)`` in the shape of ``like``."""
    return gaussian(like.shape, like, generator) * 10 ** (-snr_db / 20)


def gaussian(shape: tuple[int, ...] | torch.Size, like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Complex Gaussian numbers of variance 1, drawn on the CPU, on the device of ``like``."""
    return torch.randn(shape, dtype=like.dtype, generator=generator).to(like.device)


def through(symbols: Tensor, gain: Tensor, snr_db: float, known: bool, generator: torch.Generator | None) -> Received:
    """``y = h x + n``, and ``y / h`` where the receiver knows ``h``.

    Args:
        symbols: ``[T, k]`` complex.
        gain: h, complex, of a shape that broadcasts to the symbols'; average power 1 unless power is lost.
        snr_db: mean SNR in dB.
        known: whether the receiver knows h. It then knows each symbol's SNR too, and a symbol that did not arrive is 0.
        generator: of the noise.
    """
    heard = symbols * gain + noise(symbols, snr_db, generator)
    if not known:
        return Received(heard, snr_db)
    power = gain.abs().square().expand(symbols.shape)
    equalised = heard * gain.conj() / power.clamp_min(WEAKEST_GAIN)
    return Received(equalised, snr_db + 10 * power.log10())


def frames(symbols: Tensor, lengths: Tensor | None) -> tuple[int, Tensor]:
    """How many frames there are, and the frame ``[T]`` of each token."""
    if lengths is None:
        return 1, torch.zeros(len(symbols), dtype=torch.long, device=symbols.device)
    frame = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
    return len(lengths), frame.to(symbols.device)


def decibels(text: str, channel: str) -> float:
    """A finite SNR in dB from a channel's parameter."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise AtmError(f"channel {channel!r}: {text!r} is no SNR in dB; write for example {channel}:10")
    if abs(value) > MOST_DECIBELS:
        raise AtmError(f"channel {channel!r}: {text} dB is out of range; give -{MOST_DECIBELS} to {MOST_DECIBELS}")
    return value


def _value(text: str, default: object, where: str) -> bool | float:
    if isinstance(default, bool):
        if text not in ("yes", "no"):
            raise AtmError(f"{where} is {text!r}, expected yes or no")
        return text == "yes"
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise AtmError(f"{where} is {text!r}, expected a number")
    return value


def _text(value: bool | float) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"{value:g}"
