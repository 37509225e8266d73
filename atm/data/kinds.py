"""Where a victim's data come from: signals of each kind by name, from what reads that kind."""

from __future__ import annotations

from typing import Any, Protocol, Unpack

from torch import Tensor

from atm.data import duplicates, loading
from atm.data.asked import Choice, Division
from atm.data.formats import kind_of
from atm.data.questions import Questions
from atm.data.sets import ImageSet, Samples, Splits
from atm.data.texts import Texts
from atm.errors import AtmError
from atm.signals import Signal, SoundSignal, arrays


class Source(Protocol):
    """What reads one kind of signal; `atm.data.loading` has the arguments, and the errors."""

    def load(self, signal: Signal, name: str, split: str = "test", **choice: Unpack[Choice]) -> Samples:
        """Signals by name, as the victim takes them."""

    def splits(self, signal: Signal, name: str, **division: Unpack[Division]) -> Splits:
        """Signals for an attack."""

    def apart(self, signal: Signal, own: Any, attacked: Any) -> tuple[Any, int]:
        """Signals without near-duplicates of attacked ones, and how many these were."""

    def sample(self, signal: Signal, count: int) -> Tensor:
        """Signals that need neither file nor download, to which a codec may be fitted."""


class Arrays:
    """Pictures, or sounds as their spectrograms, in the size and the number of channels of the victim's."""

    def load(self, signal: Signal, name: str, split: str = "test", **choice: Unpack[Choice]) -> ImageSet:
        """See `atm.data.load`."""
        channels, height, width = arrays(signal).shape
        return loading.load(
            name, split, size=(height, width), channels=channels, spectrogram=spectrogram(signal), **choice
        )

    def splits(self, signal: Signal, name: str, **division: Unpack[Division]) -> Splits[ImageSet]:
        """See `atm.data.splits`."""
        channels, height, width = arrays(signal).shape
        return loading.splits(
            name, size=(height, width), channels=channels, spectrogram=spectrogram(signal), **division
        )

    def apart(self, signal: Signal, own: ImageSet, attacked: ImageSet) -> tuple[ImageSet, int]:
        """See `atm.data.duplicates`."""
        return duplicates.apart(own, attacked, kind_of(spectrogram(signal)).alike)

    def sample(self, signal: Signal, count: int) -> Tensor:
        """The embedded photographs. Raises `AtmError` for sounds, of which none are embedded."""
        if isinstance(signal, SoundSignal):
            raise AtmError(
                f"codec 'digital' is fitted to photographs, and this victim takes {signal.noun}s; use uncoded, or "
                "train one with 'atm train codec'"
            )
        return self.load(signal, "photos", "train", limit=count).images


def spectrogram(signal: Signal) -> str:
    """The recipe by which arrays are made of sounds; empty for pictures."""
    return signal.recipe.name if isinstance(signal, SoundSignal) else ""


ARRAYS = Arrays()
SOURCES: dict[str, Source] = {
    "image": ARRAYS, "asked-image": Questions(), "log-mel": ARRAYS, "fbank": ARRAYS, "text": Texts()
}  # fmt: skip
"""By `atm.signals.Signal.name`."""


def source(signal: Signal) -> Source:
    """What reads signals of this kind."""
    return SOURCES[signal.name]
