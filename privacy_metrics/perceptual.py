"""LPIPS: the distance between images in the features of a network, weighted to agree with human judgement."""

from __future__ import annotations

import copy
import socket
import sys
import warnings
from collections.abc import Callable
from functools import cache
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.models import AlexNet_Weights

from privacy_metrics.metric import Metric, MetricUnavailable, as_pair, in_batches

SMALLEST_SIDE = 64
"""In pixels: the network needs about this much to have any feature map left at its last layer."""

BATCH = 64
"""Images that go through the network at once."""

CONNECT_SECONDS = 5.0
"""How long each step of a download may stay silent before the weights count as unavailable."""

_WEIGHTS = AlexNet_Weights.IMAGENET1K_V1
_URL = _WEIGHTS.url
_FILE = Path(_URL).name
_SHA256_START = Path(_URL).stem.rsplit("-", 1)[-1]


class LpipsUnavailable(MetricUnavailable):
    """The weights of LPIPS are neither on this machine nor to be had."""


@torch.no_grad()
def lpips(reconstruction: Tensor, original: Tensor) -> Tensor:
    """LPIPS of each image with AlexNet, version 0.1 (Zhang et al., CVPR 2018), by the package ``lpips``.

    Images with a side below 64 pixels are upsampled first, see `seen_size`; the network takes colour, so grey ones go
    in as three equal channels. The AlexNet weights are taken from ``TORCH_HOME/hub/checkpoints``, or downloaded there
    once as torchvision does. A failed attempt is remembered for as long as the process lives.

    Args:
        reconstruction: ``[B, C, H, W]`` float in [0, 1].
        original: the same shape and range.

    Returns:
        ``[B]`` float32 on the CPU, at least 0; 0 for identical images, lower means more alike.

    Raises:
        LpipsUnavailable: the weights are missing and cannot be downloaded, or are damaged.
        ValueError: shape, type or range is another.

    Examples:
        >>> original = torch.rand(2, 3, 32, 32)
        >>> try:
        ...     distance = lpips(original, original)
        ... except LpipsUnavailable:
        ...     distance = torch.zeros(2)
        >>> distance
        tensor([0., 0.])
    """
    pair = as_pair(reconstruction, original)
    return in_batches(distance(torch.device("cpu")), *pair, size=BATCH)


def distance(device: torch.device) -> Callable[[Tensor, Tensor], Tensor]:
    """LPIPS as a loss: of two batches ``[B, C, H, W]`` on a device, unchecked, to ``[B]`` with gradients.

    Raises:
        LpipsUnavailable: the weights are missing and cannot be downloaded, or are damaged.
    """
    found = _network(Path(torch.hub.get_dir()) / "checkpoints" / _FILE)
    if isinstance(found, str):
        raise LpipsUnavailable(found)
    network = found if device.type == "cpu" else copy.deepcopy(found).to(device)  # metrics keep theirs on the CPU

    def of(ours: Tensor, theirs: Tensor) -> Tensor:
        size = seen_size(*theirs.shape[2:])
        distances: Tensor = network(enlarged(ours, size) * 2 - 1, enlarged(theirs, size) * 2 - 1)
        return distances.flatten()

    return of


def seen_size(height: int, width: int) -> tuple[int, int]:
    """The size at which LPIPS sees an image: its own, or enlarged until the shorter side has 64 pixels.

    Examples:
        >>> seen_size(32, 32), seen_size(32, 48), seen_size(224, 224)
        ((64, 64), (64, 96), (224, 224))
    """
    enlarge = max(1.0, SMALLEST_SIDE / min(height, width))
    return round(height * enlarge), round(width * enlarge)


def input_note(channels: int, height: int, width: int) -> str:
    """What a report must say about LPIPS of images of this shape; empty if nothing.

    Examples:
        >>> input_note(3, 32, 32)
        'LPIPS sees the 32x32 images upsampled to 64x64 (bilinear)'
        >>> input_note(1, 224, 224)
        'LPIPS sees the 224x224 images as three equal channels'
        >>> input_note(3, 224, 224)
        ''
    """
    seen = seen_size(height, width)
    changes = [f"upsampled to {seen[0]}x{seen[1]} (bilinear)"] if seen != (height, width) else []
    changes += ["as three equal channels"] if channels == 1 else []
    return f"LPIPS sees the {height}x{width} images {' and '.join(changes)}" if changes else ""


def enlarged(images: Tensor, size: tuple[int, int]) -> Tensor:
    """``[B, 3, *size]``: images ``[B, C, H, W]`` in that size, grey ones as three equal channels."""
    if images.shape[2:] != size:
        images = interpolate(images, size=size, mode="bilinear", align_corners=False)
    return images.expand(-1, 3, -1, -1)


@cache
def _network(checkpoint: Path) -> torch.nn.Module | str:
    """The network in evaluation mode, or why there is none. A failure is kept too: nobody waits for it twice."""
    try:
        _provide(checkpoint)
    except (OSError, HTTPException, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return (
            f"LPIPS needs {_FILE}, which is not in TORCH_HOME/hub/checkpoints and cannot be downloaded ({reason}); "
            "set TORCH_HOME to a folder that has it, or connect once"
        )
    try:
        return _assembled(
            _WEIGHTS.get_state_dict(model_dir=str(checkpoint.parent), map_location="cpu", weights_only=True)
        )
    except ImportError:
        raise
    except Exception as error:  # torn files and those of something else fail in many ways
        return (
            f"LPIPS needs {_FILE}, but the one in TORCH_HOME/hub/checkpoints is damaged ({type(error).__name__}); "
            "delete it and connect once"
        )


def _provide(checkpoint: Path) -> None:
    if checkpoint.exists():
        return
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECT_SECONDS)  # the download takes no timeout of its own
    try:
        torch.hub.download_url_to_file(_URL, str(checkpoint), _SHA256_START, progress=sys.stderr.isatty())
    finally:
        socket.setdefaulttimeout(before)


def _assembled(alexnet: dict[str, Tensor]) -> torch.nn.Module:
    from lpips import LPIPS as Network  # slow to import, and not needed until here

    # Built without weights and then filled: loading them itself, lpips would print and would unpickle any object. The
    # random ones that it draws first must not shift the random numbers of the experiment.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torchvision deprecates the arguments that lpips passes
        network = Network(net="alex", version="0.1", pnet_rand=True, verbose=False)
    layers = {name.removeprefix("features."): value for name, value in alexnet.items()}
    for part in network.net.children():
        part.load_state_dict({name: layers[name] for name in part.state_dict()})
    return network.eval().requires_grad_(False)


LPIPS = Metric("lpips", "LPIPS", "", False, lpips, input_note)
