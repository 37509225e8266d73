"""What is sure: p-values, their correction where several are read together, and the trials that would settle a rate."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest, norm, ttest_1samp

from privacy_metrics.statistics import Values, check_level, finite

SURE = 0.05  # below it a corrected p-value is a finding


def trials_to_settle(rate: float, bar: float, level: float = 0.95) -> int | None:
    """How many trials it takes, if the rate stays as it is, until the interval leaves a bar on one side.

    The interval is that of `privacy_metrics.statistics.wilson`.

    Wilson's interval is the rates ``p`` with ``|rate - p| <= z sqrt(p (1 - p) / n)``, which is solved for ``n`` at the
    bar.

    Args:
        rate: that was observed, from 0 to 1.
        bar: in (0, 1).
        level: of confidence, in (0, 1).

    Returns:
        The smallest number with the whole interval below the bar, or above it; None where the rate is the bar itself.

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> trials_to_settle(0.0, 0.05), trials_to_settle(0.09, 0.05)
        (73, 115)
    """
    check_level(level)
    if not 0 <= rate <= 1 or not 0 < bar < 1:
        raise ValueError(f"got a rate of {rate} and a bar of {bar}, expected 0 to 1, the bar without its ends")
    if rate == bar:
        return None
    z = float(norm.ppf((1 + level) / 2))
    return math.floor(z * z * bar * (1 - bar) / (rate - bar) ** 2) + 1


def rate_p_value(successes: int, n: int, chance: float) -> float:
    """P-value that successes come more often than by chance (exact binomial test, one-sided).

    Args:
        successes: from 0 to ``n``.
        n: trials, at least 1.
        chance: from 0 to 1.

    Raises:
        ValueError: an argument is out of range.

    Examples:
        >>> rate_p_value(3, 3, 0.5)
        0.125
    """
    return float(binomtest(successes, n, chance, alternative="greater").pvalue)


def paired_p_value(a: Values, b: Values, *, by: float = 0.0, two_sided: bool = False) -> float:
    """P-value that ``a`` is higher than ``b`` on the same images by more than ``by`` on average (Student's t-test).

    Args:
        a: ``[n]`` scores, one per image; n at least 2.
        b: ``[n]`` scores of the same images in the same order.
        by: margin of the mean difference.
        two_sided: ask whether the mean difference is anything but ``by``.

    Returns:
        From 0 to 1; where all differences are the same (to 1e-12), 0 if what is asked holds and 1 if not.

    Raises:
        ValueError: the numbers of values differ, are fewer than 2, or a value is NaN or infinite.

    Examples:
        >>> paired_p_value([0.5, 0.75, 1.0], [0.25, 0.5, 0.75]), paired_p_value([1.0, 2.0], [1.0, 2.0])
        (0.0, 1.0)
    """
    first, second = finite(a), finite(b)
    if len(first) != len(second) or len(first) < 2:
        raise ValueError(f"paired values are {len(first)} and {len(second)}, expected at least 2 of each, equally many")
    rest = first - second - by
    if np.ptp(rest) <= 1e-12 * max(1.0, float(np.abs(rest).max())):
        mean = float(rest.mean())
        return 0.0 if (abs(mean) if two_sided else mean) > 1e-12 else 1.0
    return float(ttest_1samp(rest, 0.0, alternative="two-sided" if two_sided else "greater").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for being read together (Holm, Scandinavian Journal of Statistics 1979).

    Where those below 0.05 are called findings, the chance of any false one among them is at most 5%, however the tests
    depend on each other.

    Args:
        p_values: any number, in any order.

    Returns:
        As many, in the same order, at most 1.

    Examples:
        >>> holm([0.01, 0.04, 0.03, 0.005])
        [0.03, 0.06, 0.06, 0.02]
    """
    order = np.argsort(p_values, kind="stable")
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, float(p_values[index]) * (len(p_values) - rank)))
        corrected[index] = highest
    return corrected
