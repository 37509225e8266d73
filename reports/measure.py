"""How a folder's numbers are to be read: what its leakage is, and which interval its other columns have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atm.signals import Signal, kind
from privacy_metrics import METRICS
from privacy_metrics.statistics import Interval, Values, bootstrap_mean, mean_or_rate

NO_TASK = "no task, so no accuracy (see --head)"


def signal_of(about: Mapping[str, Any]) -> type[Signal]:
    """The kind of signal: pictures where the settings do not say otherwise.

    Raises:
        AtmError: there is no such kind.
    """
    return kind(str(about.get("signal", "image")))


def measured(about: Mapping[str, Any]) -> str:
    """The metric that is leakage, for people."""
    return METRICS[signal_of(about).leakage].label


def averaged(column: str, values: Values) -> Interval:
    """The mean ``[n]`` of a column of a folder's table: of answers that are right or wrong, where they are, a rate."""
    return mean_or_rate(values) if column == "correct" else bootstrap_mean(values)
