"""In what a folder's leakage is measured: its settings say which kind of signal was attacked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atm.signals import Signal, kind
from privacy_metrics import METRICS


def signal_of(about: Mapping[str, Any]) -> type[Signal]:
    """The kind of signal: pictures where the settings do not say otherwise.

    Raises:
        AtmError: there is no such kind.
    """
    return kind(str(about.get("signal", "image")))


def measured(about: Mapping[str, Any]) -> str:
    """The metric that is leakage, for people."""
    return METRICS[signal_of(about).leakage].label
