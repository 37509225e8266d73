"""A time budget: whatever takes steps looks at it after each, and ends with the best that it has."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_until: ContextVar[float] = ContextVar("until", default=math.inf)


@contextmanager
def time_budget(seconds: float) -> Iterator[None]:
    """Within it, `spent` is true once so many seconds have passed; an outer budget that ends sooner stays in force."""
    token = _until.set(min(_until.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _until.reset(token)


def remaining() -> float:
    """Seconds that are left; infinity where there is no budget."""
    return max(_until.get() - time.monotonic(), 0.0)


def spent() -> bool:
    """Whether the time is over."""
    return time.monotonic() > _until.get()


def stopwatch() -> Callable[[], float]:
    """A function that tells which fraction, 0 to 1, is gone of the time that is left now; 0 where there is no budget.

    Rates that fall with it end low when the time does.
    """
    begun, left = time.monotonic(), remaining()
    if left == math.inf:
        return lambda: 0.0
    return lambda: min((time.monotonic() - begun) / max(left, 1e-9), 1.0)
