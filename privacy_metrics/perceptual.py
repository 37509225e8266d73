"""LPIPS (Zhang et al. 2018), from its authors' package.

Its AlexNet is read from ``TORCH_HOME`` or downloaded, as users of ``lpips`` expect. Images of less than 64 pixels a side
are upsampled to 64 before they are compared, because AlexNet sees little in smaller ones.
"""

from __future__ import annotations

import contextlib
import io
import socket
import warnings
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from privacy_metrics.images import check_pair

SMALLEST_SIDE = 64
BATCH = 64
PATIENCE_S = 10.0  # seconds that a download may be silent


class LpipsUnavailable(RuntimeError):
    """LPIPS has no weights here and cannot get them."""


def lpips(reconstructions: Tensor, originals: Tensor) -> Tensor:
    """Learned perceptual distance; 0 for a perfect copy, about 0.7 for unrelated pictures.

    Args:
        reconstructions: ``[B, 3, H, W]`` float in [0, 1].
        originals: the same shape.

    Returns:
        ``[B]``, from 0.

    Raises:
        ValueError: other shapes, other ranges, or NaN.
        LpipsUnavailable: the weights are neither here nor to be had.
    """
    check_pair(reconstructions, originals)
    network = _network()
    if isinstance(network, str):
        raise LpipsUnavailable(network)
    pairs = zip(reconstructions.split(BATCH), originals.split(BATCH), strict=True)
    with torch.no_grad():
        return torch.cat([network(_prepare(a), _prepare(b)).flatten() for a, b in pairs])


def _prepare(images: Tensor) -> Tensor:
    side = min(images.shape[-2:])
    if side < SMALLEST_SIDE:
        images = interpolate(images, scale_factor=SMALLEST_SIDE / side, mode="bilinear")
    return images.float() * 2 - 1


@cache
def _network() -> nn.Module | str:
    """The network, or why there is none; tried once in a process."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE_S)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            import lpips as package

            return package.LPIPS(net="alex", verbose=False).eval().requires_grad_(False)
    except Exception as error:  # the download and torch's loader fail in many ways; all mean that there is no LPIPS
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        return (
            f"LPIPS needs AlexNet's weights ({reason}); connect to the internet once, or set TORCH_HOME to a folder with "
            "hub/checkpoints/alexnet-owt-7be5be79.pth"
        )
    finally:
        socket.setdefaulttimeout(before)
