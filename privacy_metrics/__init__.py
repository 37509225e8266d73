"""Pure functions on image tensors and scores: similarity, leakage and their statistics. Nothing of ours is imported.

Images are ``[B, 3, H, W]`` float in [0, 1] everywhere. A new metric is one new file and one line in `METRICS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from privacy_metrics.perceptual import LpipsUnavailable, lpips
from privacy_metrics.similarity import psnr, ssim


@dataclass(frozen=True)
class Metric:
    """A similarity of a reconstruction to its original.

    Attributes:
        name: column in files.
        label: heading in reports.
        unit: empty for pure numbers.
        higher_is_leakier: whether a larger value means a better reconstruction.
        compute: ``(reconstructions, originals) -> [B]``.
    """

    name: str
    label: str
    unit: str
    higher_is_leakier: bool
    compute: Callable[[Tensor, Tensor], Tensor]


METRICS: dict[str, Metric] = {
    "ssim": Metric("ssim", "SSIM", "", True, ssim),
    "psnr": Metric("psnr", "PSNR", "dB", True, psnr),
    "lpips": Metric("lpips", "LPIPS", "", False, lpips),
}


def score(reconstructions: Tensor, originals: Tensor) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Every metric ``[B]`` by name, and for each one that could not be computed the reason."""
    scores, missing = {}, {}
    for name, metric in METRICS.items():
        try:
            scores[name] = metric.compute(reconstructions, originals)
        except LpipsUnavailable as error:
            missing[name] = str(error)
    return scores, missing


__all__ = ["METRICS", "LpipsUnavailable", "Metric", "lpips", "psnr", "score", "ssim"]
