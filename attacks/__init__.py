"""What an adversary does with an observation; each attack is one file with a class that has
``reconstruct`` (pictures) or ``infer`` (what else the tokens give away).

Part of the distribution ``atm-privacy``.
"""

from __future__ import annotations

import sys
from typing import Any

from atm.errors import unknown
from atm.plugins import discover
from attacks import base
from attacks.base import Attack, Inference, require
from attacks.baselines import BASELINES, Baselines


def available() -> dict[str, type[Any]]:
    """Every attack by name: those in this folder and those of other installed packages."""
    return discover(sys.modules[__name__], "atm.attacks", Attack, Inference)


def inferences() -> dict[str, type[Any]]:
    """Every inference by name, found as `available` finds attacks."""
    return discover(sys.modules[__name__], "atm.attacks", Inference, Attack)


def create(name: str, quick: bool = False) -> Attack:
    """An attack with its default parameters, or its quick ones.

    Raises:
        AtmError: there is no attack of that name.
    """
    known = available()
    if name not in known:
        raise unknown("attack", name, known)
    found: Attack = base.made(known[name], quick)
    return found


__all__ = [
    "BASELINES", "Attack", "Baselines", "Inference", "available", "create", "inferences", "require"
]  # fmt: skip
