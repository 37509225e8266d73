"""How many inputs are tried: ``ATM_FUZZ`` of them in all, the same ones each time."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

TOTAL = int(os.environ.get("ATM_FUZZ", "1100"))


def share(part: float) -> settings:
    """Hypothesis's settings for a part of all inputs."""
    return settings(
        max_examples=max(round(part * TOTAL), 1),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
