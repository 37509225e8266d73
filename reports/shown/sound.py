"""A sound as its spectrogram, low tones at the bottom, with what it sounds like; both inside the page itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from markupsafe import Markup
from torch import Tensor

from atm.errors import AtmError
from atm.signals import SoundSignal, png
from privacy_metrics.waveforms import RATE

if TYPE_CHECKING:
    from reports.shown import Shot

LONGEST = 300  # frames of 10 ms that are played, so that pages stay small


def shows(signal: type[SoundSignal]) -> Callable[[Shot], Markup]:
    """What shows sounds of one kind."""

    def show(shot: Shot) -> Markup:
        """A picture, and below it a player; no player where torchaudio or soundfile is missing."""
        spectrogram = signal.restore([shot.content])
        drawn = _uri("image/png", png.store(spectrogram.flip(2))[0])
        picture = Markup('<img src="{}" alt="{} of sound {}" data-name="{}" data-caption="{}">').format(
            drawn, shot.name, shot.number, shot.name, shot.caption
        )
        wave = _wave(signal, spectrogram[..., :LONGEST])
        if wave is None:
            return picture
        return picture + Markup('<audio controls preload="none" src="{}" aria-label="{}"></audio>').format(
            _uri("audio/wav", wave), shot.caption
        )

    return show


def _wave(signal: type[SoundSignal], spectrogram: Tensor) -> bytes | None:
    """A WAV file of 16 bits of what a spectrogram ``[1, 1, bins, frames]`` sounds like, if the libraries are there."""
    try:
        import soundfile

        wave = signal.recipe.sound(spectrogram)[0]
    except (ImportError, OSError, AtmError):
        return None
    file = io.BytesIO()
    soundfile.write(file, wave.numpy(), RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64," + base64.b64encode(content).decode()
