"""Pure functions on image tensors and scores: metrics here, intervals in `statistics`, the worst case in `leakage`.

Images are ``[B, C, H, W]`` float in [0, 1] everywhere, in colour (C = 3) or grey (C = 1), and a metric gives one score
per image. A grey picture scores as the same picture with three equal channels.

Part of the distribution ``atm-privacy``.
"""

from privacy_metrics.metric import Metric, MetricUnavailable
from privacy_metrics.perceptual import LpipsUnavailable, lpips
from privacy_metrics.registry import METRICS, score
from privacy_metrics.similarity import psnr, ssim

__all__ = ["METRICS", "LpipsUnavailable", "Metric", "MetricUnavailable", "lpips", "psnr", "score", "ssim"]
