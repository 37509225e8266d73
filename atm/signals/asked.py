"""Pictures about which somebody asks questions: pictures like any others, whose data come with the questions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from atm.signals.image import ImageSignal


@dataclass(frozen=True)
class AskedSignal(ImageSignal):
    """Pictures of one size; a question is the server's context, and no part of what is sent or rebuilt."""

    name: ClassVar[str] = "asked-image"
