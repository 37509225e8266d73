"""One sound file to a spectrogram: one channel, 16,000 samples a second, one window; or the reason why not."""

from __future__ import annotations

import io
from math import gcd
from typing import Any

import numpy as np
import torch

from atm.data.pictures import Size, UnusableError, pair
from atm.errors import AtmError
from atm.signals.spectrogram import RATE, recipe, torchaudio
from atm.text import printable
from privacy_metrics.extras import extra

SUFFIXES = frozenset({".wav", ".flac"})
FORMATS = ("WAV", "WAVEX", "RF64", "FLAC")
SLOWEST, FASTEST = 4_000, 384_000  # samples a second that recordings have; what claims others is damaged
MOST_CHANNELS = 64
SILENT = 1e-4  # of full scale: 80 dB below it, less than the last bits of 16

CHANNELS = "have several channels, of which the mean is taken"
RESAMPLED = f"were resampled to {RATE:,} samples a second"
LONGER = "are longer than the window, of which only the beginning is heard"
SHORTER = "are shorter than the window, whose end is silent"


def decode(file: bytes, size: Size, channels: int, spectrogram: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """A spectrogram ``[1, bins, frames]`` uint8 of a sound, and what was done to it.

    Eight bits a value are steps of half a decibel on the scale of `atm.signals.spectrogram`.

    Args:
        file: its bytes.
        size: mel bands and frames of 10 ms.
        channels: of the victim's input, 1.
        spectrogram: the recipe's name.

    Raises:
        UnusableError: the file is damaged, no sound, or silent.
        AtmError: the size is missing, another number of channels is wanted, or a library is missing.
    """
    if size is None:
        raise AtmError("sounds become spectrograms of one size: give mel bands and frames of 10 ms, such as 80x100")
    if channels != 1:
        raise AtmError(f"sounds become spectrograms of one channel, and the victim takes {channels}")
    bins, frames = pair(size)
    made = recipe(spectrogram)
    sound, notes = samples(file, made.samples(frames))
    levels = made(torch.from_numpy(sound), bins, frames).mul(255).round().to(torch.uint8)
    return levels.numpy()[None], notes


def samples(file: bytes, most: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """The first ``most`` samples ``[n]`` float32 in [-1, 1] of a sound file, 16,000 a second, and what was done to it.

    Raises:
        UnusableError: see `decode`.
        AtmError: the library is missing.
    """
    soundfile = _library()
    try:
        with soundfile.SoundFile(io.BytesIO(file)) as opened:
            rate, number, width = opened.samplerate, opened.frames, opened.channels
            if opened.format not in FORMATS:
                raise UnusableError("no readable sound")
            if not SLOWEST <= rate <= FASTEST:
                raise UnusableError(f"not between {SLOWEST:,} and {FASTEST:,} samples a second")
            if width > MOST_CHANNELS:
                raise UnusableError(f"more than {MOST_CHANNELS} channels")
            wanted = -(-most * rate // RATE) + rate // 10  # a little more, for the resampling at the end
            read = opened.read(min(wanted, number), dtype="float32", always_2d=True)
    except UnusableError:
        raise
    except Exception as error:  # a damaged file can make the library raise nearly anything
        reason = printable(error).partition(": ")[2] or printable(error)
        raise UnusableError(f"no readable sound: {reason[:100]}") from None
    if not len(read):
        raise UnusableError("no sound in it")
    if not np.isfinite(read).all():
        raise UnusableError("samples that are no numbers")
    notes = [CHANNELS] if width > 1 else []
    sound = read.mean(1)
    if rate != RATE:
        from scipy.signal import resample_poly  # slow to import, and not needed until here

        notes.append(RESAMPLED)
        common = gcd(rate, RATE)
        sound = resample_poly(sound, RATE // common, rate // common)
    sound = sound[:most].clip(-1, 1).astype(np.float32)
    if np.abs(sound).max() < SILENT:
        raise UnusableError("silent")
    length = number * RATE / rate
    notes += [LONGER] if length > most else [SHORTER] if length < most else []
    return np.ascontiguousarray(sound), tuple(notes)


def _library() -> Any:
    torchaudio()  # which says how to get both
    try:
        import soundfile
    except (ImportError, OSError):  # the system's own library of that name may be missing
        raise AtmError(f"sounds need torchaudio and soundfile; {extra('audio')}") from None
    return soundfile
