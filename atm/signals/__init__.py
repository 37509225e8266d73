"""What a victim takes in and an attack gives back; each kind is one file."""

from atm.errors import unknown
from atm.signals.arrays import ArraySignal, arrays
from atm.signals.asked import AskedSignal
from atm.signals.base import Signal
from atm.signals.image import ImageSignal
from atm.signals.sound import FbankSignal, LogMelSignal, SoundSignal
from atm.signals.text import TextSignal

KINDS: tuple[type[Signal], ...] = (ImageSignal, AskedSignal, LogMelSignal, FbankSignal, TextSignal)
SIGNALS: dict[str, type[Signal]] = {kind.name: kind for kind in KINDS}
"""Every kind by name. A new one is a file with a `Signal`, and its name in this line."""


def kind(name: str) -> type[Signal]:
    """The kind of signal of some name.

    Raises:
        AtmError: there is none.
    """
    if name not in SIGNALS:
        raise unknown("kind of signal", name, SIGNALS)
    return SIGNALS[name]


__all__ = [
    "SIGNALS", "ArraySignal", "AskedSignal", "ImageSignal", "Signal", "SoundSignal", "TextSignal", "arrays", "kind"
]  # fmt: skip
