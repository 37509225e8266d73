"""3GPP tapped delay lines (TR 38.901, section 7.7.2) under OFDM, from Sionna."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from atm.channels.base import Channel, Received, frames, through
from atm.sionna_phy import seed_sionna, sionna

SUBCARRIERS = 256
SPACING_HZ = 30e3
SYMBOL_SECONDS = 1.07 / SPACING_HZ  # with the cyclic prefix, which is longer than any delay here
CARRIER_HZ = 3.5e9


class Tdl(Channel):
    """A tapped delay line; each image's symbols fill OFDM symbols of 256 subcarriers, 30 kHz apart, at 3.5 GHz.

    The prefix covers all delays, so that each subcarrier sees one coefficient. Each image's frame has taps of its own.

    Attributes:
        snr_db: mean over the fading.
        spread: root-mean-square delay spread in nanoseconds, at most 100.
        speed: of the device, in metres a second; 0 keeps the taps still through a frame.
        csi: whether the receiver knows every subcarrier's coefficient and equalises.
    """

    spread: float
    speed: float
    csi: bool

    def __post_init__(self) -> None:
        if not 0 <= self.spread <= 100:
            raise self.refuse("spread", "nanoseconds in [0, 100], which the cyclic prefix covers")
        if self.speed < 0:
            raise self.refuse("speed", "metres a second, at least 0")

    def model(self) -> Any:
        """Sionna's model of the taps."""
        return sionna("channel.tr38901").TDL(
            self.name[-1].upper(),
            delay_spread=self.spread * 1e-9,
            carrier_frequency=CARRIER_HZ,
            min_speed=self.speed,
            device="cpu",
        )

    def carry(
        self, symbols: Tensor, generator: torch.Generator | None = None, lengths: Tensor | None = None
    ) -> Received:
        """Fades every subcarrier and adds the noise."""
        count, frame = frames(symbols, lengths)
        uses = torch.bincount(frame, minlength=count).cpu() * symbols.shape[1]
        response = self.response(count, -(-int(uses.max()) // SUBCARRIERS), generator).flatten(1)
        gain = torch.cat([response[i, :n] for i, n in enumerate(uses.tolist())])
        return through(symbols, gain.view(symbols.shape).to(symbols.device), self.snr_db, self.csi, generator)

    def response(self, count: int, times: int, generator: torch.Generator | None = None) -> Tensor:
        """``[count, times, subcarriers]`` complex: the coefficient of each subcarrier in each OFDM symbol."""
        channel = sionna("channel")
        model = self.model()
        seed_sionna(generator)
        taps, delays = model(count, times, 1 / SYMBOL_SECONDS)
        frequencies = channel.subcarrier_frequencies(SUBCARRIERS, SPACING_HZ, device="cpu")
        return channel.cir_to_ofdm_channel(frequencies, taps, delays)[:, 0, 0, 0, 0]


@dataclass(frozen=True)
class TdlA(Tdl):
    """3GPP TDL-A under OFDM: rich scattering, no line of sight, many close taps."""

    name: ClassVar[str] = "tdl-a"
    snr_db: float
    spread: float = 100.0
    speed: float = 1.0
    csi: bool = True


@dataclass(frozen=True)
class TdlB(TdlA):
    """3GPP TDL-B under OFDM: no line of sight, power spread over early and late taps."""

    name: ClassVar[str] = "tdl-b"


@dataclass(frozen=True)
class TdlC(TdlA):
    """3GPP TDL-C under OFDM: no line of sight, a few late strong taps."""

    name: ClassVar[str] = "tdl-c"


@dataclass(frozen=True)
class TdlD(TdlA):
    """3GPP TDL-D under OFDM: line of sight, K-factor 13.3 dB."""

    name: ClassVar[str] = "tdl-d"


@dataclass(frozen=True)
class TdlE(TdlA):
    """3GPP TDL-E under OFDM: line of sight, K-factor 22 dB."""

    name: ClassVar[str] = "tdl-e"
