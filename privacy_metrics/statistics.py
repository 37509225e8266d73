"""Confidence intervals, from scipy."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, bootstrap
from torch import Tensor

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    Attributes:
        estimate: the mean or rate.
        low: lower end; NaN where there are too few values for an interval.
        high: upper end.
        n: how many values it rests on.
        level: confidence.
    """

    estimate: float
    low: float
    high: float
    n: int
    level: float = LEVEL


def bootstrap_mean(values: Tensor, *, level: float = LEVEL, resamples: int = 2000, seed: int = 0) -> Interval:
    """The mean with its percentile-bootstrap interval over images.

    Args:
        values: ``[N]`` finite, one per image.
        level: confidence.
        resamples: bootstrap samples.
        seed: of the resampling.

    Raises:
        ValueError: no values, or NaN among them.
    """
    x = values.detach().cpu().double().numpy()
    if x.ndim != 1 or len(x) == 0 or not np.isfinite(x).all():
        raise ValueError(f"an interval needs at least one value, all finite, got shape {list(x.shape)}")
    mean = float(x.mean())
    if len(x) == 1:
        return Interval(mean, float("nan"), float("nan"), 1, level)
    if np.ptp(x) == 0:
        return Interval(mean, mean, mean, len(x), level)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ends = bootstrap(
            (x,), np.mean, n_resamples=resamples, confidence_level=level, method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval  # fmt: skip
    return Interval(mean, min(float(ends.low), mean), max(float(ends.high), mean), len(x), level)


def paired_difference(a: Tensor, b: Tensor, **options: float) -> Interval:
    """The mean of ``a - b`` over the same images, with its bootstrap interval.

    Raises:
        ValueError: different numbers of values.
    """
    if a.shape != b.shape:
        raise ValueError(f"paired values need equal shapes, got {list(a.shape)} and {list(b.shape)}")
    return bootstrap_mean(a - b, **options)  # type: ignore[arg-type]


def wilson(successes: int, n: int, *, level: float = LEVEL) -> Interval:
    """A rate with Wilson's score interval (Wilson 1927).

    Raises:
        ValueError: ``successes`` outside 0 to ``n``, or no trials.
    """
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"a rate needs 0 <= successes <= n and n > 0, got {successes} of {n}")
    ends = binomtest(successes, n).proportion_ci(level, method="wilson")
    return Interval(successes / n, float(ends.low), float(ends.high), n, level)
