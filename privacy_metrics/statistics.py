"""Intervals: no number is shown without one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, bootstrap
from torch import Tensor

Values = Tensor | np.ndarray | Sequence[float]


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    Attributes:
        estimate: the mean or the rate that was observed.
        low: lower end; NaN where there is too little data for an interval.
        high: upper end; NaN likewise.
        n: how many values it rests on.
        level: of confidence.
    """

    estimate: float
    low: float
    high: float
    n: int
    level: float = 0.95


def bootstrap_mean(values: Values, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """Mean with its bootstrap interval, bias-corrected and accelerated (BCa; Efron, JASA 1987).

    BCa follows skewed scores better than percentiles do. Like every bootstrap it is too narrow for few values: of ten,
    a 95% interval covers the mean in about 90% of cases.

    Args:
        values: ``[n]``, one per image; n at least 1.
        level: of confidence, in (0, 1).
        resamples: bootstrap samples.
        seed: same seed, same interval.

    Returns:
        The interval; its ends are NaN for a single value and equal the mean where all values are the same (to 1e-12).

    Raises:
        ValueError: there is no value, a value is NaN or infinite, they are not one-dimensional, or the level is out of
            range.

    Examples:
        >>> interval = bootstrap_mean([0.2, 0.4, 0.6, 0.8])
        >>> interval.low < interval.estimate == 0.5 < interval.high
        True
    """
    data = _finite(values)
    _check_level(level)
    mean, n = float(data.mean()), len(data)
    if n == 1:
        return Interval(mean, float("nan"), float("nan"), n, level)
    if np.ptp(data) <= 1e-12 * max(1.0, float(np.abs(data).max())):
        return Interval(mean, mean, mean, n, level)
    ends = bootstrap(
        (data,),
        np.mean,
        confidence_level=level,
        n_resamples=resamples,
        method="BCa",
        vectorized=True,
        batch=max(1, 2**23 // n),  # 64 MB at most, where many images would otherwise need n * n values
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(mean, float(ends.low), float(ends.high), n, level)


def paired_difference(a: Values, b: Values, *, level: float = 0.95, resamples: int = 2000, seed: int = 0) -> Interval:
    """Mean of ``a - b`` over the same images, with the interval of `bootstrap_mean`.

    Images differ far more than systems do, so the intervals of two means may overlap although every single image leaks
    more in ``a``. An interval of the difference that excludes 0 is what shows it.

    Args:
        a: ``[n]`` scores, one per image.
        b: ``[n]`` scores of the same images in the same order.
        level: of confidence, in (0, 1).
        resamples: bootstrap samples.
        seed: same seed, same interval.

    Raises:
        ValueError: the numbers of values differ, or `bootstrap_mean` does not accept them.

    Examples:
        >>> paired_difference([0.5, 0.75, 1.0], [0.25, 0.5, 0.75]).estimate
        0.25
    """
    first, second = _finite(a), _finite(b)
    if len(first) != len(second):
        raise ValueError(f"paired values are {len(first)} and {len(second)}, expected one of each for every image")
    return bootstrap_mean(first - second, level=level, resamples=resamples, seed=seed)


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """Rate with its score interval (Wilson, JASA 1927), which holds up near 0 and 1 where a bootstrap collapses.

    Args:
        successes: from 0 to ``n``.
        n: trials, at least 1.
        level: of confidence, in (0, 1).

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> interval = wilson(0, 100)
        >>> interval.estimate, interval.low, round(interval.high, 3)
        (0.0, 0.0, 0.037)
    """
    _check_level(level)
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"got {successes} successes in {n} trials, expected 0 to n successes and n of at least 1")
    ends = binomtest(successes, n).proportion_ci(confidence_level=level, method="wilson")
    return Interval(successes / n, float(ends.low), float(ends.high), n, level)


def _finite(values: Values) -> np.ndarray:
    data = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=float)
    if data.ndim != 1 or data.size == 0:
        raise ValueError(f"values have the shape {list(data.shape)}, expected [n] with n of at least 1")
    if not np.isfinite(data).all():
        raise ValueError("values hold NaN or infinity, expected finite numbers")
    return data


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, expected a number between 0 and 1, such as 0.95")
