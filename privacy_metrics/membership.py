"""Was this picture sent? How well a score of each picture tells those that were from those that were not."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import rankdata, wilcoxon
from torch import Tensor

from privacy_metrics.statistics import Interval, Values, finite, wilson, wilson_effective

FALSE_ALARMS = 0.01  # of the pictures that were not sent, at most, are said to have been
RESAMPLES = 400


def halves(labels: Tensor) -> Tensor:
    """``[N]`` bool: which half each of N pictures is in, at random, every class divided as evenly as can be.

    Args:
        labels: ``[N]`` int64. Randomness comes from torch's global generator.
    """
    shuffled = torch.randperm(len(labels))
    order = shuffled[labels[shuffled].argsort(stable=True)]
    found = torch.zeros(len(labels), dtype=torch.bool)
    found[order[::2]] = True
    return found


def sent_and_unsent(similarity: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """For each picture how well it fits the frame that it fits best, when it is among those sent, and when it is not.

    The pictures of one half are the ones that were sent, the other half's are others of the same classes, and then the
    other way round: where frames tell nothing of their picture, both scores of each are alike but for luck.

    Args:
        similarity: ``[N, N]``, of the frame of each picture (rows) and each picture (columns).
        half: ``[N]`` bool; neither half is empty.

    Returns:
        Two of ``[N]``.
    """
    in_half, in_other = similarity[half].amax(0), similarity[~half].amax(0)
    return torch.where(half, in_half, in_other), torch.where(half, in_other, in_half)


def auc(sent: Values, unsent: Values) -> Interval:
    """Area under the ROC curve: the chance that a sent picture scores higher than one that was not; ties count half.

    The interval is Wilson's for as many independent pictures as have the variance of the area, by placements (DeLong et
    al., Biometrics 1988) summed over each picture, whose two scores depend on each other.

    Args:
        sent: ``[n]``.
        unsent: ``[n]`` of the same pictures.

    Examples:
        >>> auc([0.9, 0.8, 0.7], [0.1, 0.2, 0.75]).estimate.__round__(3)
        0.889
    """
    a, b = finite(sent), finite(unsent)
    n, both = len(a), rankdata(np.concatenate([a, b]))
    below = (both[:n] - rankdata(a)) / len(b)  # share of the unsent below each that was sent, ties half
    above = 1 - (both[n:] - rankdata(b)) / n
    area = float(below.mean())
    variance = float((below + above).var(ddof=1)) / n if n > 1 else 0.0
    effective = min(n, area * (1 - area) / variance) if variance and 0 < area < 1 else n
    return wilson_effective(area, effective, n)


def caught(sent: Values, unsent: Values, seed: int = 0) -> Interval:
    """Share of the sent pictures that are told at no more than `FALSE_ALARMS` (Carlini et al., S&P 2022).

    The threshold is the highest score of the unsent but for so many false alarms. The interval is the hull of Wilson's,
    which takes the threshold for given, and of a bootstrap over pictures, which does not.

    Args:
        sent: ``[n]``.
        unsent: ``[n]`` of the same pictures.
        seed: of the bootstrap.

    Examples:
        >>> caught([0.9, 0.8, 0.7], [0.1, 0.2, 0.75]).estimate.__round__(3)
        0.667
    """
    a, b = finite(sent), finite(unsent)
    n = len(a)
    place = n - 1 - int(FALSE_ALARMS * n)

    def rate(rows: np.ndarray) -> np.ndarray:
        bar = np.partition(b[rows], place, -1)[..., place, None]
        return np.asarray((a[rows] > bar).mean(-1))

    random, most = np.random.default_rng(seed), max(1, 2**21 // n)  # resamples that fit into memory at once
    parts = [min(most, RESAMPLES - done) for done in range(0, RESAMPLES, most)]
    drawn = np.concatenate([rate(random.integers(n, size=(part, n))) for part in parts])
    low, high = np.quantile(drawn, [0.025, 0.975])
    found = wilson(round(float(rate(np.arange(n))) * n), n)
    return Interval(found.estimate, min(found.low, float(low)), max(found.high, float(high)), n)


def p_value(sent: Values, unsent: Values) -> float:
    """P-value that pictures score no higher when they were sent (Wilcoxon's signed-rank test, paired by picture)."""
    difference = finite(sent) - finite(unsent)
    if not np.abs(difference).max() > 0:
        return 1.0
    return float(wilcoxon(difference, alternative="greater").pvalue)
