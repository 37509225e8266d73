"""What every image metric asks of its arguments."""

from __future__ import annotations

from torch import Tensor


def check_pair(reconstructions: Tensor, originals: Tensor) -> None:
    """Raise ValueError unless both are finite ``[B, C, H, W]`` in [0, 1] of one shape, where C is 3 or 1."""
    for name, images in (("reconstructions", reconstructions), ("originals", originals)):
        if images.ndim != 4 or images.shape[1] not in (1, 3) or not images.is_floating_point():
            raise ValueError(f"{name} must be float [B, 3 or 1, H, W], got {images.dtype} {list(images.shape)}")
        if images.numel() and not (float(images.min()) >= 0 and float(images.max()) <= 1):  # also false for NaN
            raise ValueError(f"{name} must be in [0, 1], got {float(images.min())} to {float(images.max())}")
    if reconstructions.shape != originals.shape:
        raise ValueError(
            f"shapes differ: reconstructions {list(reconstructions.shape)}, originals {list(originals.shape)}"
        )
