"""What the processor has used, by its own counter, which Linux shows of most Intel and AMD processors to root."""

from __future__ import annotations

from pathlib import Path

COUNTER = Path("/sys/class/powercap/intel-rapl:0")  # of the first processor package, idle power included


def joules(counter: Path | None = None) -> float | None:
    """Joules that the first processor package has used since some moment, or None where no counter can be read.

    Args:
        counter: its folder; None is Linux's.
    """
    try:
        return int(((counter or COUNTER) / "energy_uj").read_text()) / 1e6
    except (OSError, ValueError):
        return None
