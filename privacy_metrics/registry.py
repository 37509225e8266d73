"""Every metric by name, and all of them at once."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from privacy_metrics.dists import DISTS
from privacy_metrics.metric import Metric, MetricUnavailable
from privacy_metrics.perceptual import LPIPS
from privacy_metrics.similarity import PSNR, SSIM
from privacy_metrics.sounds import CEPSTRAL_DISTORTION, SPECTROGRAM_SSIM, STOI
from privacy_metrics.words import EXACT, IN_PLACE, ROUGE_L

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (SPECTROGRAM_SSIM, SSIM, PSNR, LPIPS, DISTS, CEPSTRAL_DISTORTION, STOI, ROUGE_L, IN_PLACE, EXACT)
}
"""Every metric by name, of each kind of signal its leakage first. A new one is a file with a `Metric`, and its name in
this line.
"""


def metrics_of(signal: str) -> list[str]:
    """The names of the metrics of a kind of signal."""
    return [name for name, metric in METRICS.items() if signal in metric.signals]


def score(
    reconstructions: Tensor, originals: Tensor, metrics: Iterable[str] | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Score every reconstruction by every metric.

    Args:
        reconstructions: ``[B, ...]`` of one kind of signal, such as ``[B, C, H, W]`` float in [0, 1].
        originals: the same shape and range.
        metrics: names from `METRICS`; None takes all of pictures.

    Returns:
        ``[B]`` scores by metric, and for each metric that is unavailable here the reason in one line.

    Raises:
        ValueError: a metric is unknown, or the signals do not fit.

    Examples:
        >>> import torch
        >>> original = torch.rand(2, 3, 32, 32)
        >>> scores, missing = score(original, original, ["ssim", "psnr"])
        >>> scores
        {'ssim': tensor([1., 1.]), 'psnr': tensor([100., 100.])}
        >>> missing
        {}
    """
    names = list(metrics_of("image") if metrics is None else metrics)
    if unknown := [name for name in names if name not in METRICS]:
        raise ValueError(f"unknown metric {unknown[0]!r}; known are {', '.join(METRICS)}")
    scores, missing = {}, {}
    for name in names:
        try:
            scores[name] = METRICS[name].compute(reconstructions, originals)
        except MetricUnavailable as error:
            missing[name] = str(error)
    return scores, missing
