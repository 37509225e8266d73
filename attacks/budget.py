"""A time budget: whatever takes steps looks at it after each, and ends with the best that it has."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
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
