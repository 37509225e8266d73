"""Spectrograms as models of sound take them, on the scale [0, 1]; and back to a sound that one can listen to.

Each recipe is that of one family's feature extractor in ``transformers``, computed by torchaudio (extra ``audio``).
Sound has 16,000 samples a second, one channel, and a frame of it begins every 10 ms.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

import torch
from torch import Tensor

from atm.errors import AtmError, unknown
from privacy_metrics.extras import extra
from privacy_metrics.sounds import DECADES
from privacy_metrics.waveforms import HOP, RATE, WINDOW, energies, griffin_lim, log_mel_sound, mel_filters


@dataclass(frozen=True)
class Spectrogram(ABC):
    """A recipe that makes an array ``[bins, frames]`` of a sound.

    Attributes:
        name: of the recipe, as a run's settings have it.
        lowest: what 0 stands for, in the unit that the recipe's model was trained on.
        highest: what 1 stands for; no sound within full scale is above it. Between them are `DECADES` powers of ten.
        scale: mean and deviation with which the model's own extractor goes on, in the recipe's unit.
    """

    name: ClassVar[str]
    lowest: ClassVar[float]
    highest: ClassVar[float]
    scale: tuple[float, float] = (0.0, 1.0)

    @property
    def mean(self) -> float:
        """What the model's input is normalised with, of values in [0, 1]: a linear map, which loses nothing."""
        return (self.scale[0] - self.lowest) / (self.highest - self.lowest)

    @property
    def std(self) -> float:
        """The deviation, likewise."""
        return self.scale[1] / (self.highest - self.lowest)

    def samples(self, frames: int) -> int:
        """Samples of sound in so many frames."""
        return frames * HOP

    def __call__(self, sound: Tensor, bins: int, frames: int) -> Tensor:
        """``[bins, frames]`` in [0, 1] of a sound.

        Args:
            sound: ``[n]`` in [-1, 1], 16,000 samples a second; what is missing at its end is silence, and what is
                beyond ``frames`` is left out.
            bins: mel bands.
            frames: of 10 ms.
        """
        values = self.measure(sound[: self.samples(frames)].float(), bins, frames)
        return ((values - self.lowest) / (self.highest - self.lowest)).clamp(0, 1)

    @abstractmethod
    def measure(self, sound: Tensor, bins: int, frames: int) -> Tensor:
        """``[bins, frames]`` of a sound in the recipe's own unit."""

    @abstractmethod
    def sound(self, images: Tensor) -> Tensor:
        """A sound of which each spectrogram could be (`privacy_metrics.waveforms.griffin_lim`).

        Args:
            images: ``[B, 1, bins, frames]`` in [0, 1].

        Returns:
            ``[B, samples]`` float32 in [-1, 1], zeros for a spectrogram without any sound in it.
        """


@dataclass(frozen=True)
class LogMel(Spectrogram):
    """Whisper's: decadic logarithm of mel energies, no more than 8 decades below the loudest (Radford et al. 2022).

    Its unit is (decades + 4) / 4, from -1.5, where all energies below 1e-10 are, to 1.75: a window of 400 samples at
    full scale has at most 3e4 of energy, of which no mel band takes more than a thirtieth.
    """

    name: ClassVar[str] = "log-mel"
    lowest: ClassVar[float] = -1.5
    highest: ClassVar[float] = 1.75

    def measure(self, sound: Tensor, bins: int, frames: int) -> Tensor:
        """``[bins, frames]`` as `WhisperFeatureExtractor` has it of a sound padded to this length."""
        padded = torch.nn.functional.pad(sound, (0, self.samples(frames) - len(sound)))
        waves = torch.stft(padded, WINDOW, HOP, window=torch.hann_window(WINDOW), return_complex=True)[:, :-1]
        values = (mel_filters(bins) @ waves.abs().square()).clamp_min(1e-10).log10()
        return (values.maximum(values.max() - 8) + 4) / 4

    def sound(self, images: Tensor) -> Tensor:
        """Of the smallest energies with these mel bands, negative ones left out."""
        torchaudio()
        return log_mel_sound(images[:, 0], DECADES)


@dataclass(frozen=True)
class Fbank(Spectrogram):
    """Kaldi's, which the Audio Spectrogram Transformer takes (Gong et al. 2021): natural logarithm of mel energies.

    A window has at most 1.5e5 of energy, the logarithm of which is 11.9. Frames that are missing at the end are zeros
    of that logarithm, as its feature extractor makes them.
    """

    name: ClassVar[str] = "fbank"
    lowest: ClassVar[float] = 12.0 - DECADES * math.log(10)
    highest: ClassVar[float] = 12.0
    scale: tuple[float, float] = (-4.2677393, 2 * 4.5689974)

    def samples(self, frames: int) -> int:
        """Samples in so many whole frames, the last of which reaches beyond the others."""
        return (frames - 1) * HOP + WINDOW

    def measure(self, sound: Tensor, bins: int, frames: int) -> Tensor:
        """``[bins, frames]`` as `ASTFeatureExtractor` has it, before it is normalised."""
        kaldi = torchaudio().compliance.kaldi
        sound = torch.nn.functional.pad(sound, (0, max(WINDOW - len(sound), 0)))
        values = kaldi.fbank(sound[None], sample_frequency=RATE, window_type="hanning", num_mel_bins=bins)
        return torch.nn.functional.pad(values, (0, 0, 0, frames - len(values))).T

    def sound(self, images: Tensor) -> Tensor:
        """As for `LogMel`, with the emphasis of high frequencies undone."""
        kaldi = torchaudio().compliance.kaldi
        bands = energies(images[:, 0], DECADES)
        filters, _ = kaldi.get_mel_banks(bands.shape[1], 512, float(RATE), 20.0, 0.0, 100.0, -500.0, 1.0)
        filters = torch.nn.functional.pad(filters, (0, 1))
        angle = torch.linspace(0, torch.pi, filters.shape[1])
        emphasis = 1 + 0.97**2 - 2 * 0.97 * angle.cos()  # of energy, by Kaldi's filter 1 - 0.97 / z
        return griffin_lim((torch.linalg.pinv(filters) @ bands).clamp_min(0) / emphasis[:, None])


RECIPES: dict[str, Spectrogram] = {recipe.name: recipe for recipe in (LogMel(), Fbank())}


def recipe(name: str) -> Spectrogram:
    """A recipe by its name.

    Raises:
        AtmError: there is none of that name.
    """
    if name not in RECIPES:
        raise unknown("spectrogram", name, RECIPES)
    return RECIPES[name]


def torchaudio() -> ModuleType:
    """The library, which is loaded when the first sound comes.

    Raises:
        AtmError: it is missing.
    """
    try:
        import torchaudio
        import torchaudio.compliance.kaldi
    except ImportError:
        raise AtmError(f"sounds need torchaudio and soundfile; {extra('audio')}") from None
    return torchaudio
