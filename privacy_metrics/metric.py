"""What a metric is, and what every metric does with its images first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from privacy_metrics.images import check_pair


class MetricUnavailable(RuntimeError):
    """A metric that cannot be computed here; its one line says what is missing and how to get it."""


def _no_note(*shape: int) -> str:
    return ""


PICTURES = ("image", "asked-image")  # kinds of signal that are pictures


@dataclass(frozen=True)
class Metric:
    """One way of comparing a reconstruction with its original, image by image.

    Attributes:
        name: in files and on the command line.
        label: for people.
        unit: such as ``dB``; empty for a pure number.
        higher_is_leakier: whether a higher score means that the reconstruction shows more of the original.
        compute: ``(reconstructions, originals)``, both ``[B, ...]`` of one kind of signal, to ``[B]`` scores.
        note: the shape of one signal to what a reader must know about scores of such; empty if nothing.
        signals: the kinds of signal that it compares (`atm.signals`).
    """

    name: str
    label: str
    unit: str
    higher_is_leakier: bool
    compute: Callable[[Tensor, Tensor], Tensor]
    note: Callable[..., str] = _no_note
    signals: tuple[str, ...] = PICTURES


def as_pair(reconstruction: Tensor, original: Tensor) -> tuple[Tensor, Tensor]:
    """Both image batches, checked, as float32 on the CPU.

    Metrics run on the CPU because scores must not depend on the machine: GPUs convolve in TF32 by default, whose ten
    bits of mantissa are too few for the small differences of squares in SSIM.

    Args:
        reconstruction: ``[B, C, H, W]`` float in [0, 1].
        original: the same shape and range.

    Raises:
        ValueError: shape, type or range is another, a value is NaN, or B is 0.

    Examples:
        >>> half = torch.full((1, 3, 8, 8), 0.5, dtype=torch.float16)
        >>> [images.dtype for images in as_pair(half, half)]
        [torch.float32, torch.float32]
    """
    check_pair(reconstruction, original)
    if len(original) == 0:
        raise ValueError("there are no images, expected at least one")
    return reconstruction.cpu().float(), original.cpu().float()


def in_batches(
    compute: Callable[[Tensor, Tensor], Tensor], reconstruction: Tensor, original: Tensor, size: int
) -> Tensor:
    """``[B]`` scores, computed for ``size`` images at a time, so that memory does not grow with B."""
    pairs = zip(reconstruction.split(size), original.split(size), strict=True)
    return torch.cat([compute(ours, theirs) for ours, theirs in pairs])
