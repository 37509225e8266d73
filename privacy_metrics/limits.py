"""Upper confidence limits of a mean, for numbers that must not be too small by the luck of the sample."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import t as student
from torch import Tensor

RESAMPLES = 4000


def bernstein_limit(values: Tensor, ceiling: float, level: float = 0.95) -> float:
    """Upper limit of the mean of independent values from 0 to ``ceiling``, at any number of them.

    The empirical Bernstein inequality (Maurer & Pontil, COLT 2009, theorem 4). It assumes nothing about how values are
    distributed between the two ends.

    Args:
        values: ``[n]``, n at least 2.
        ceiling: that no value can exceed.
        level: of confidence, in (0, 1).

    Raises:
        ValueError: there are fewer than two values, or one is not from 0 to ``ceiling``.
    """
    n, data = len(values), values.double()
    if n < 2 or not bool(((data >= 0) & (data <= ceiling * (1 + 1e-6))).all()):
        raise ValueError(f"expected at least two values from 0 to {ceiling}, got {n} from {data.min()} to {data.max()}")
    unlikely = math.log(2 / (1 - level))
    spread = math.sqrt(2 * float(data.var()) * unlikely / n)
    return float(data.mean()) + spread + 7 * ceiling * unlikely / (3 * (n - 1))


def skewed_limit(values: Tensor, level: float = 0.95, seed: int = 0) -> float:
    """Upper limit of the mean of independent positive values without a known ceiling: the larger one of two.

    The studentised bootstrap (Hall, Annals of Statistics 1988) follows a skew that the sample shows; Cox's limit for
    log-normal values (Land, Technometrics 1972) one that it is too small to show. Approximate: without a ceiling no
    limit holds for every distribution, since what is rare and large may be missing from any sample.

    Args:
        values: ``[n]``, n at least 2.
        level: of confidence, in (0, 1).
        seed: same seed, same limit.

    Raises:
        ValueError: there are fewer than two values, or one is not positive and finite.
    """
    data = np.asarray(values.detach().cpu(), dtype=float)
    if data.ndim != 1 or len(data) < 2 or not (np.isfinite(data) & (data > 0)).all():
        raise ValueError(f"expected at least two positive finite values, got {len(data)}")
    n, mean, variance = len(data), data.mean(), np.log(data).var(ddof=1)
    error = math.sqrt(variance / n + variance**2 / (2 * (n - 1)))
    cox = math.exp(np.log(data).mean() + variance / 2 + float(student.ppf(level, n - 1)) * error)
    drawn = data[np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))]
    deviation = drawn.std(1, ddof=1)
    varied = deviation > 1e-12 * mean
    if not varied.any():
        return max(cox, mean)
    t = (drawn[varied].mean(1) - mean) / deviation[varied]
    return max(cox, float(mean - np.quantile(t, 1 - level) * data.std(ddof=1)))
