"""SSIM and PSNR of each image, as torchmetrics computes them."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from privacy_metrics.metric import PICTURES, Metric, as_pair, in_batches

PSNR_CAP = 100.0
"""In dB: a mean squared error of 1e-10, far below the 59 dB that rounding to 8 bits costs."""

SMALLEST_SIDE = 6
"""In pixels: SSIM's window reaches 5 pixels beyond the edge, where the image is mirrored."""


@torch.no_grad()
def ssim(reconstruction: Tensor, original: Tensor) -> Tensor:
    """Structural similarity of each image (Wang et al., IEEE TIP 2004).

    Gaussian window of 11 pixels with sigma 1.5, K1 = 0.01, K2 = 0.03, data range 1, per colour channel. The mean goes
    over **every** pixel, the image being mirrored at its edges, because half of a 32-pixel image lies within 5 pixels
    of an edge. scikit-image leaves those 5 pixels out of its mean, which changes that of a 32-pixel image by up to 0.1;
    given images that were padded by 5 mirrored pixels, it agrees with this to 1e-4.

    Args:
        reconstruction: ``[B, C, H, W]`` float in [0, 1], H and W at least `SMALLEST_SIDE`.
        original: the same shape and range.

    Returns:
        ``[B]`` float32 on the CPU, from -1 to 1; 1 for identical images.

    Raises:
        ValueError: shape, type or range is another, or the images are too small.

    Examples:
        >>> original = torch.rand(2, 3, 32, 32)
        >>> ssim(original, original)
        tensor([1., 1.])
    """
    reconstruction, original = as_pair(reconstruction, original)
    return in_batches(_ssim, reconstruction, original, size=32)


def _ssim(reconstruction: Tensor, original: Tensor) -> Tensor:
    return structure(reconstruction, original).mean(dim=(1, 2, 3)).clamp(-1, 1)  # rounding passes them on plain images


def structure(reconstruction: Tensor, original: Tensor) -> Tensor:
    """SSIM at every pixel ``[B, C, H, W]`` of a checked pair; see `ssim`."""
    if min(original.shape[2:]) < SMALLEST_SIDE:
        height, width = original.shape[2:]
        raise ValueError(f"images are {height}x{width}, expected at least {SMALLEST_SIDE} pixels a side for SSIM")
    from torchmetrics.functional.image import structural_similarity_index_measure  # loading it takes a second

    # Versions of torchmetrics disagree on whether the edges count in its own mean; the full map is the same in all.
    _, full = structural_similarity_index_measure(
        reconstruction, original, sigma=1.5, data_range=1.0, reduction="none", return_full_image=True
    )
    found: Tensor = full
    return found


@torch.no_grad()
def psnr(reconstruction: Tensor, original: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each image, in dB, for a peak of 1.

    Args:
        reconstruction: ``[B, C, H, W]`` float in [0, 1].
        original: the same shape and range.

    Returns:
        ``[B]`` float32 on the CPU, from 0 to `PSNR_CAP`. The cap stands for infinity, which identical images would
        get, so that means stay finite.

    Raises:
        ValueError: shape, type or range is another.

    Examples:
        >>> psnr(torch.full((1, 3, 8, 8), 0.6), torch.full((1, 3, 8, 8), 0.5)).round()
        tensor([20.])
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    reconstruction, original = as_pair(reconstruction, original)
    compute = partial(peak_signal_noise_ratio, data_range=1.0, reduction="none", dim=(1, 2, 3))
    return in_batches(compute, reconstruction, original, size=256).clamp(max=PSNR_CAP)


SSIM = Metric("ssim", "SSIM", "", True, ssim)
PSNR = Metric("psnr", "PSNR", "dB", True, psnr, signals=(*PICTURES, "log-mel", "fbank"))
