"""Sounds as their spectrograms ``[1, bins, frames]`` in [0, 1], cut into rectangles as pictures are into patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from atm.signals import png
from atm.signals.arrays import ArraySignal
from atm.signals.spectrogram import Fbank, LogMel, Spectrogram
from privacy_metrics.leakage import Bar

# Another recording of the same digit by the same speaker has a spectrogram SSIM of .51 in the mean; of 300 pairs 95%
# are below .67 (Free Spoken Digits, windows of 1 s). What is blurred over 2 bands and 2 frames has .85.
SOUND_BAR = Bar(recognisable=0.65, owed=0.1, near_copy=0.85, clear=0.25)


@dataclass(frozen=True)
class SoundSignal(ArraySignal):
    """Sounds of one length; a run keeps their spectrograms as PNG of 8 bits, in steps of half a decibel.

    Attributes:
        recipe: what makes a spectrogram of a sound.
    """

    recipe: ClassVar[Spectrogram]
    noun: ClassVar[str] = "sound"
    part: ClassVar[str] = "cell"
    parts: ClassVar[str] = "cells"
    leakage: ClassVar[str] = "spectrogram_ssim"
    bar: ClassVar[Bar] = SOUND_BAR
    suffix: ClassVar[str] = "png"

    def store(self, signals: Tensor) -> list[bytes]:
        """As grey pictures, the lowest band at the top."""
        return png.store(signals)

    @classmethod
    def restore(cls, files: Sequence[bytes]) -> Tensor:
        """``[B, 1, bins, frames]``."""
        return png.restore(files)[:, :1]


@dataclass(frozen=True)
class LogMelSignal(SoundSignal):
    """Whisper's spectrograms."""

    name: ClassVar[str] = LogMel.name
    recipe: ClassVar[Spectrogram] = LogMel()


@dataclass(frozen=True)
class FbankSignal(SoundSignal):
    """Kaldi's spectrograms, as the Audio Spectrogram Transformer takes them."""

    name: ClassVar[str] = Fbank.name
    recipe: ClassVar[Spectrogram] = Fbank()
