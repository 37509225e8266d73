"""Numbers as people write them: as many digits as they need, and never a power of ten."""

from __future__ import annotations

import math

from privacy_metrics.statistics import Interval

SMALLEST = 1e-6  # below it nobody counts the zeros
NO_NUMBER = "–"


def plain(value: float | None, digits: int = 3) -> str:
    """``0.00169`` or ``12345`` with so many significant digits, of which those before the point are never cut."""
    if value is None or not math.isfinite(value):
        return NO_NUMBER
    if value == 0:
        return "0"
    if abs(value) < SMALLEST:
        return f"below {SMALLEST:.6f}" if value > 0 else f"above -{SMALLEST:.6f}"
    behind = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    text = f"{value:.{behind}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def show(interval: Interval, digits: int = 2, percent: bool = False) -> str:
    """``0.61 [0.58, 0.64]``."""
    form = f"{{:.{digits}%}}" if percent else f"{{:.{digits}f}}"
    middle = form.format(interval.estimate)
    if interval.low != interval.low:  # NaN: too few values for an interval
        return f"{middle} [no interval from {interval.n}]"
    return f"{middle} [{form.format(interval.low)}, {form.format(interval.high)}]"


def p_value(value: float) -> str:
    """``0.042``, or ``< 0.001``."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def give_or_take(value: float, error: float) -> str:
    """``0.431 ± 0.012``, the second being half of a 95% interval; the value alone where that is 0 or not known."""
    return f"{plain(value, 4)} ± {plain(error, 2)}" if error > 0 else plain(value, 4)
