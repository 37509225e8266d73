"""DISTS: how far two pictures are apart in structure and texture, in the features of a network."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torchvision.models import VGG16_Weights

from privacy_metrics.metric import Metric, MetricUnavailable, as_pair, in_batches
from privacy_metrics.perceptual import enlarged, input_note, seen_size

BATCH = 16
FILE = Path(VGG16_Weights.DEFAULT.url).name


@torch.no_grad()
def dists(reconstruction: Tensor, original: Tensor) -> Tensor:
    """DISTS of each image with VGG16 (Ding et al., TPAMI 2022), by torchmetrics.

    It forgives another sample of the same texture, which SSIM does not. Images are enlarged and grey ones made colour
    as for LPIPS. The 528 MB of VGG16's weights are taken from ``TORCH_HOME/hub/checkpoints`` and never fetched.

    Args:
        reconstruction: ``[B, C, H, W]`` float in [0, 1].
        original: the same shape and range.

    Returns:
        ``[B]`` float32 on the CPU, from 0 for identical images to about 1; lower means more alike.

    Raises:
        MetricUnavailable: the weights are missing or damaged.
        ValueError: shape, type or range is another.
    """
    reconstruction, original = as_pair(reconstruction, original)
    network = _network(Path(torch.hub.get_dir()) / "checkpoints" / FILE)
    if isinstance(network, str):
        raise MetricUnavailable(network)
    size = seen_size(*original.shape[2:])

    def distance(ours: Tensor, theirs: Tensor) -> Tensor:
        found: Tensor = network(enlarged(ours, size), enlarged(theirs, size))
        return found.reshape(-1)

    return in_batches(distance, reconstruction, original, size=BATCH)


@cache
def _network(checkpoint: Path) -> torch.nn.Module | str:
    """The network in evaluation mode, or why there is none."""
    if not checkpoint.is_file():
        return f"DISTS needs {FILE} (528 MB), which is not in TORCH_HOME/hub/checkpoints; put it there"
    try:
        # What loads as weights alone cannot run anything when torchvision, which asks for no such promise, loads it.
        VGG16_Weights.DEFAULT.get_state_dict(model_dir=str(checkpoint.parent), map_location="cpu", weights_only=True)
        from torchmetrics.functional.image.dists import DISTSNetwork  # slow to import, and not needed until here

        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():  # it draws weights before it loads its own
            warnings.simplefilter("ignore")
            return DISTSNetwork().eval().requires_grad_(False)
    except ImportError:
        raise
    except Exception as error:  # torn files and those of something else fail in many ways
        return f"DISTS needs {FILE}, but the one in TORCH_HOME/hub/checkpoints is damaged ({type(error).__name__})"


def _note(channels: int, height: int, width: int) -> str:
    return input_note(channels, height, width).replace("LPIPS", "DISTS")


DISTS = Metric("dists", "DISTS", "", False, dists, _note)
