"""What the device does to tokens before they leave; each defence is one file with a class that has ``protect``."""

from __future__ import annotations

import sys
from typing import Any

from atm.plugins import discover


def available() -> dict[str, type[Any]]:
    """Every defence by name: those in this folder and those of other installed packages."""
    return discover(sys.modules[__name__], "atm.defenses", "protect")
