"""SSIM and PSNR, image by image, from torchmetrics."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from privacy_metrics.images import check_pair

HIGHEST_PSNR = 100.0  # dB; what a perfect copy is given, so that means stay finite


def ssim(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004) with an 11x11 Gaussian window of deviation 1.5.

    Args:
        reconstructions: ``[B, 3, H, W]`` float in [0, 1].
        originals: the same shape.

    Returns:
        ``[B]`` in [-1, 1]; 1 for a perfect copy.

    Raises:
        ValueError: other shapes, other ranges, or NaN.

    Example:
        >>> images = torch.rand(2, 3, 32, 32)
        >>> ssim(images, images)
        tensor([1., 1.])
    """
    check_pair(reconstructions, originals)
    value = structural_similarity_index_measure(reconstructions, originals, data_range=1.0, reduction="none")
    assert isinstance(value, Tensor)
    return value.reshape(len(originals))


def psnr(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB for a peak of 1.

    Args:
        reconstructions: ``[B, 3, H, W]`` float in [0, 1].
        originals: the same shape.

    Returns:
        ``[B]`` in dB, at most `HIGHEST_PSNR`.

    Raises:
        ValueError: other shapes, other ranges, or NaN.

    Example:
        >>> psnr(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.1))
        tensor([20.])
    """
    check_pair(reconstructions, originals)
    value = peak_signal_noise_ratio(reconstructions, originals, data_range=1.0, reduction="none", dim=(1, 2, 3))
    return torch.nan_to_num(value, posinf=HIGHEST_PSNR).clamp(max=HIGHEST_PSNR)
