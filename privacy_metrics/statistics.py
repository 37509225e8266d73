"""Intervals: no number is shown without one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest, bootstrap, norm
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
    data = finite(values)
    check_level(level)
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
    first, second = finite(a), finite(b)
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
    check_level(level)
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"got {successes} successes in {n} trials, expected 0 to n successes and n of at least 1")
    ends = binomtest(successes, n).proportion_ci(confidence_level=level, method="wilson")
    return Interval(successes / n, float(ends.low), float(ends.high), n, level)


@dataclass(frozen=True)
class Effect:
    """How far two systems are apart on the same images.

    Attributes:
        difference: mean of ``a - b``.
        size: Cohen's d of the paired differences, their mean over their standard deviation; infinite where all
            differences are equal and not 0. By his convention 0.2 is small, 0.5 medium, 0.8 large.
    """

    difference: Interval
    size: float


def paired_effect(a: Values, b: Values, **options: Any) -> Effect:
    """`paired_difference` with its effect size (Cohen 1988, d of paired samples).

    Args:
        a: ``[n]`` scores, one per image; n at least 2.
        b: ``[n]`` scores of the same images in the same order.
        **options: of `paired_difference`.

    Raises:
        ValueError: as `paired_difference`, or there is a single pair.

    Examples:
        >>> paired_effect([1.0, 3.0], [0.0, 0.0]).size.__round__(3)
        1.414
    """
    difference = paired_difference(a, b, **options)
    if difference.n < 2:
        raise ValueError("there is one pair, expected at least 2 for an effect size")
    deviation = float((finite(a) - finite(b)).std(ddof=1))
    mean = difference.estimate
    if deviation <= 1e-12 * max(1.0, abs(mean)):
        return Effect(difference, math.copysign(math.inf, mean) if abs(mean) > 1e-12 else 0.0)
    return Effect(difference, mean / deviation)


Statistic = Callable[[np.ndarray], np.ndarray]
"""``[..., n]`` values -> ``[...]``."""


def percentile_95(values: np.ndarray) -> np.ndarray:
    """The value that 5% of the images exceed."""
    return np.asarray(np.quantile(values, 0.95, axis=-1))


def bootstrap_repeats(
    table: Tensor | np.ndarray,
    statistic: Statistic = lambda values: values.mean(-1),
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """A statistic over images with an interval that covers repeated runs as well as images.

    The same images are attacked in every repeat, so the two are crossed, and each is resampled on its own (the
    pigeonhole bootstrap; Owen, Annals of Applied Statistics 2007, on the safe side of the variance). The estimate is
    the statistic of each repeat, averaged over repeats. With one repeat only images vary, and the interval says
    nothing about another run. The interval of a maximum cannot reach above the greatest value that was seen.

    Args:
        table: ``[R, n]`` scores by repeat and image.
        statistic: of the images of one repeat.
        level: of confidence, in (0, 1).
        resamples: bootstrap samples.
        seed: same seed, same interval.

    Raises:
        ValueError: there is no value, a value is NaN or infinite, the shape or the level is another.

    Examples:
        >>> interval = bootstrap_repeats(np.array([[0.2, 0.4, 0.6], [0.3, 0.5, 0.7]]))
        >>> interval.low < interval.estimate < interval.high, round(interval.estimate, 2), interval.n
        (True, 0.45, 3)
    """
    data = _table(table)
    check_level(level)
    repeats, n = data.shape
    estimate = float(statistic(data).mean())
    if n == 1:
        return Interval(estimate, float("nan"), float("nan"), n, level)
    random = np.random.default_rng(seed)
    drawn = np.empty(resamples)
    for i in range(resamples):
        rows, columns = random.integers(repeats, size=repeats), random.integers(n, size=n)
        drawn[i] = statistic(data[np.ix_(rows, columns)]).mean()
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high), n, level)


def mean_or_rate(values: Values) -> Interval:
    """The mean of ``[n]`` values: Wilson's interval where each is 0 or 1, which a bootstrap shrinks to a point where
    all are alike, else a bootstrap's.

    Raises:
        ValueError: as `bootstrap_mean`.

    Examples:
        >>> round(mean_or_rate([1.0] * 60).low, 2)
        0.94
    """
    data = finite(values)
    if set(data.tolist()) <= {0.0, 1.0}:
        return wilson(int(data.sum()), len(data))
    return bootstrap_mean(data)


def wilson_repeats(hits: Tensor | np.ndarray, level: float = 0.95) -> Interval:
    """A rate over images, with a score interval that covers repeated runs as well as images.

    Repeats of the same images are no new images. The variance of the rate is estimated from the means of images and
    of repeats (never too small for crossed effects), and Wilson's interval is drawn for the number of independent
    images with that variance, at most ``n``. With one repeat this is `wilson`.

    Args:
        hits: ``[R, n]`` bool by repeat and image.
        level: of confidence, in (0, 1).

    Raises:
        ValueError: there is no value, or the shape or the level is another.

    Examples:
        >>> wilson_repeats(np.array([[True, False, False, False]])) == wilson(1, 4)
        True
    """
    data = _table(hits)
    check_level(level)
    repeats, n = data.shape
    rate = float(data.mean())
    effective = float(n)
    if repeats > 1 and n > 1 and 0 < rate < 1:
        variance = data.mean(0).var() / n + data.mean(1).var(ddof=1) / repeats
        effective = min(effective, rate * (1 - rate) / variance) if variance else effective
    if repeats == 1:
        return wilson(int(data.sum()), n, level)
    return wilson_effective(rate, effective, n, level)


def wilson_effective(rate: float, effective: float, n: int, level: float = 0.95) -> Interval:
    """Wilson's interval of a rate that is as uncertain as that of so many independent trials.

    Args:
        rate: from 0 to 1.
        effective: above 0.
        n: values that it rests on, as the interval says.
        level: of confidence, in (0, 1).
    """
    z = float(norm.ppf((1 + level) / 2))
    middle = (rate + z * z / (2 * effective)) / (1 + z * z / effective)
    half = z / (1 + z * z / effective) * math.sqrt(rate * (1 - rate) / effective + (z / (2 * effective)) ** 2)
    return Interval(rate, max(middle - half, 0.0), min(middle + half, 1.0), n, level)


def _table(values: Tensor | np.ndarray) -> np.ndarray:
    data = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=float)
    if data.ndim != 2 or data.size == 0:
        raise ValueError(f"values have the shape {list(data.shape)}, expected [repeats, n], each at least 1")
    if not np.isfinite(data).all():
        raise ValueError("values hold NaN or infinity, expected finite numbers")
    return data


def finite(values: Values) -> np.ndarray:
    """The values as ``[n]`` float64; raises ValueError where there is none, or one is NaN or infinite."""
    data = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=float)
    if data.ndim != 1 or data.size == 0:
        raise ValueError(f"values have the shape {list(data.shape)}, expected [n] with n of at least 1")
    if not np.isfinite(data).all():
        raise ValueError("values hold NaN or infinity, expected finite numbers")
    return data


def check_level(level: float) -> None:
    """Raise ValueError unless a level of confidence is between 0 and 1."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, expected a number between 0 and 1, such as 0.95")
