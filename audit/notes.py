"""What a reader must know beside the scores."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from atm.plugins import skipped
from privacy_metrics import METRICS


def notes(originals: Tensor, taken: Iterable[str], missing: dict[str, str], lacking: Iterable[str]) -> list[str]:
    """What a reader must know about the scores.

    Args:
        originals: what was attacked.
        taken: names of the metrics that were.
        missing: why others are, by name.
        lacking: why attacks were left out, a line for each (`audit.suite.lacking`).
    """
    lines = [f"{METRICS[name].label} is missing: {reason}" for name, reason in missing.items()]
    about = [METRICS[name].note(*originals.shape[1:]) for name in taken]
    left_out = [f"An attack was skipped: {line}" for line in skipped("atm.attacks")]
    return [*lines, *(line for line in about if line), *lacking, *left_out]


def heading(metric: str) -> str:
    """A metric's label with its unit."""
    unit = METRICS[metric].unit
    return METRICS[metric].label + (f" ({unit})" if unit else "")
