"""How a page shows a signal; each kind is one file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from atm.signals import FbankSignal, LogMelSignal
from reports.shown import image, sound, text


@dataclass(frozen=True)
class Shot:
    """A stored signal on a page.

    Attributes:
        content: of its file.
        original: of the file of the original that it is held against; its own where it is one.
        name: of the attack, or ``original``.
        number: of the signal.
        caption: in words, with its score.
    """

    content: bytes
    original: bytes
    name: str
    number: int
    caption: str


SHOWN: dict[str, Callable[[Shot], Markup]] = {
    "image": image.show,
    "asked-image": image.show,
    "log-mel": sound.shows(LogMelSignal),
    "fbank": sound.shows(FbankSignal),
    "text": text.show,
}
"""By `atm.signals.Signal.name`."""
