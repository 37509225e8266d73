"""What the length of a frame gives away, whoever cannot read the frame: bits of mutual information, and padding.

Lengths that depend on the picture tell something of it even where every symbol is perfectly protected.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from torch import Tensor

from privacy_metrics.statistics import Interval

Labels = Tensor | np.ndarray | Sequence[int]


@dataclass(frozen=True)
class Information:
    """Mutual information between two discrete quantities.

    Attributes:
        bits: estimate with interval, corrected for bias, not below 0.
        p_value: of the hypothesis that there is none, by permutation, in (0, 1].
        entropy: bits of the second quantity by itself; `bits` can be no more.
    """

    bits: Interval
    p_value: float
    entropy: float


@dataclass(frozen=True)
class Padding:
    """What padding every frame to a multiple of ``bucket`` tokens does.

    Attributes:
        bucket: tokens; 1 pads nothing.
        extra: share of tokens, and so of symbols, that is sent in addition.
        information: what the padded length still tells.
    """

    bucket: int
    extra: float
    information: Information


def mutual_information(
    first: Labels, second: Labels, *, permutations: int = 500, level: float = 0.95, seed: int = 0
) -> Information:
    """Bits that each of two discrete quantities tells of the other.

    The estimate is the smaller of two corrections of the plug-in value: that of Miller and Madow (1955), which adds
    (cells - 1) / 2n nats to each entropy, and the plug-in value less its mean over permutations, which holds up where
    nearly every pair is seen once (no information, many cells), and gives too little where there is much. The interval
    is that of the plug-in value, from the variance of the pointwise information (Roulston, Physica D 1999), about the
    estimate; at no information it is too narrow, and the p-value is to be read instead.

    Args:
        first: ``[n]`` integers, such as the tokens of each frame.
        second: ``[n]`` integers, such as the class of each image.
        permutations: of the null distribution.
        level: of confidence.
        seed: of the permutations.

    Raises:
        ValueError: the quantities have other shapes than ``[n]`` with n of at least 2.

    Examples:
        >>> round(mutual_information([0, 1] * 500, [0, 1] * 500).bits.estimate, 2)
        1.0
    """
    a, b = _codes(first), _codes(second)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise ValueError(f"quantities have the shapes {list(a.shape)} and {list(b.shape)}, expected both [n], n >= 2")
    n = len(a)
    joint = _table(a, b)
    plain = _information(joint)
    generator = np.random.default_rng(seed)
    null = np.array([_information(_table(a, generator.permutation(b))) for _ in range(permutations)])
    cells = int((joint.sum(1) > 0).sum()) + int((joint.sum(0) > 0).sum()) - int((joint > 0).sum()) - 1
    miller_madow = plain + cells / (2 * n * math.log(2))
    estimate = max(0.0, min(miller_madow, plain - float(null.mean()) if permutations else miller_madow))
    half = float(norm.ppf((1 + level) / 2)) * math.sqrt(_pointwise_variance(joint) / n)
    bits = Interval(estimate, max(0.0, estimate - half), estimate + half, n, level)
    return Information(bits, float((1 + (null >= plain - 1e-12).sum()) / (1 + permutations)), _entropy(joint.sum(0)))


def padded(lengths: Labels, bucket: int, longest: int | None = None) -> np.ndarray:
    """``[n]`` lengths rounded up to multiples of ``bucket``, but not beyond the longest that a frame can be.

    Raises:
        ValueError: the bucket is smaller than 1.

    Examples:
        >>> padded([1, 8, 9], 8).tolist()
        [8, 8, 16]
        >>> padded([1, 8, 9], 8, longest=12).tolist()
        [8, 8, 12]
    """
    if bucket < 1:
        raise ValueError(f"bucket is {bucket}, expected at least 1")
    up = -(-np.asarray(lengths) // bucket) * bucket
    return up if longest is None else np.minimum(up, longest)


def padding(
    lengths: Labels, labels: Labels, buckets: Sequence[int], *, longest: int | None = None, seed: int = 0
) -> list[Padding]:
    """What padding to each of some buckets costs and what it leaves to learn.

    Args:
        lengths: ``[n]`` tokens of each frame.
        labels: ``[n]`` what is to be kept secret.
        buckets: tokens; 1 is no padding, and one as large as the longest frame hides everything.
        longest: tokens of the longest possible frame, to which padding stops; None for no such limit.
        seed: of the permutations.
    """
    plain = np.asarray(lengths)
    rows = []
    for bucket in buckets:
        length = padded(plain, bucket, longest)
        extra = float(length.sum() / plain.sum() - 1)
        rows.append(Padding(bucket, extra, mutual_information(length, labels, seed=seed)))
    return rows


def _codes(values: Labels) -> np.ndarray:
    array = np.asarray(values)
    return np.unique(array, return_inverse=True)[1] if array.ndim == 1 else array


def _table(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    columns = int(b.max()) + 1
    return np.bincount(a * columns + b, minlength=(int(a.max()) + 1) * columns).reshape(-1, columns)


def _entropy(counts: np.ndarray) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())


def _information(joint: np.ndarray) -> float:
    return _entropy(joint.sum(1)) + _entropy(joint.sum(0)) - _entropy(joint.ravel())


def _pointwise_variance(joint: np.ndarray) -> float:
    share = joint / joint.sum()
    product = share.sum(1, keepdims=True) * share.sum(0, keepdims=True)
    seen = share > 0
    pointwise = np.log2(share[seen] / product[seen])
    weights = share[seen]
    return float((weights * (pointwise - (weights * pointwise).sum()) ** 2).sum())
