"""From the scores of many attacks to one number per image: the worst case for privacy."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

RECOGNISABLE_SSIM = 0.5


def leakage(scores: Mapping[str, Tensor], higher_is_leakier: bool = True) -> Tensor:
    """For each image the best score that any attack reached. Its mean is the leakage that a search minimises.

    Args:
        scores: ``[B]`` by attack.
        higher_is_leakier: False for distances such as LPIPS.

    Returns:
        ``[B]``.

    Raises:
        ValueError: no attacks, different numbers of images, or NaN.

    Example:
        >>> leakage({"a": torch.tensor([0.1, 0.5]), "b": torch.tensor([0.3, 0.2])})
        tensor([0.3000, 0.5000])
    """
    if not scores:
        raise ValueError("leakage needs the scores of at least one attack")
    for name, values in scores.items():
        if not bool(values.isfinite().all()):
            raise ValueError(f"attack {name!r} has a score that is not finite")
    if len({values.shape for values in scores.values()}) > 1:
        raise ValueError(f"attacks scored different images: { {n: list(v.shape) for n, v in scores.items()} }")
    stacked = torch.stack(list(scores.values()))
    return stacked.amax(0) if higher_is_leakier else stacked.amin(0)


def recognisable(ssim: Tensor, threshold: float = RECOGNISABLE_SSIM) -> Tensor:
    """``[B]`` bool: whether a reconstruction counts as recognisable.

    A convention, not a measurement of perception: SSIM and PSNR agree only weakly with human judgement (Sun et al.,
    NeurIPS 2023).
    """
    return ssim >= threshold
