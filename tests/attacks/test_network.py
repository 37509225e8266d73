"""The decoder's network keeps its estimate until it is trained, and reaches every pixel, whatever the patches."""

from __future__ import annotations

import pytest
import torch

from atm.signals import ImageSignal
from attacks.network import InversionNetwork, Size, cells_of, joined

SIGNALS = {
    "patches of 4": ImageSignal((3, 32, 32), (8, 8)),
    "patches of 8": ImageSignal((3, 64, 64), (8, 8)),
    "patches of 14": ImageSignal((3, 84, 84), (6, 6)),
    "patches of 16": ImageSignal((1, 96, 80), (6, 5)),
    "odd pictures": ImageSignal((3, 75, 75), (5, 5)),
    "rectangles": ImageSignal((3, 40, 80), (5, 5)),
    "flat patches": ImageSignal((3, 20, 80), (10, 5)),
    "patches of one row": ImageSignal((1, 6, 96), (6, 6)),
}


def network(signal, **more):
    torch.manual_seed(0)
    return InversionNetwork(**{"features": 5, "tokens": 0, "signal": signal, "size": Size.suited(signal), **more})


@pytest.mark.parametrize("signal", SIGNALS.values(), ids=SIGNALS)
def test_it_begins_as_its_estimate_and_can_change_every_pixel(signal):
    made = network(signal)
    estimate, features = torch.rand(2, *signal.shape), torch.rand(2, signal.places, 5)
    torch.testing.assert_close(made(estimate, features), estimate)
    optimizer = torch.optim.SGD(made.parameters(), 1.0)
    for _ in range(2):  # the second step sees through the layers that began at 0
        (made(estimate, features) - 1).square().mean().backward()
        optimizer.step()
    assert bool((made(estimate, features) != estimate).flatten(1).float().mean(1).gt(0.99).all())


@pytest.mark.parametrize("signal", SIGNALS.values(), ids=SIGNALS)
def test_a_patch_hears_of_its_own_features(signal):
    """What a patch's features change, they change there and in its neighbours more than elsewhere."""
    made = network(signal)
    with torch.no_grad():
        for layer in (made.coarse_out, made.fine_out):
            layer.weight.normal_(std=0.1)
    estimate, features = torch.rand(1, *signal.shape), torch.rand(1, signal.places, 5)
    changed = features.clone()
    changed[0, 0] += 5
    difference = (made(estimate, changed) - made(estimate, features)).square()
    by_patch = signal.to_units(difference).mean((0, 2)).unflatten(0, signal.grid)
    assert by_patch[:2, :2].mean() > 2 * by_patch[3:, 3:].mean()


def test_larger_patches_get_a_wider_network():
    small, large = (Size.suited(SIGNALS[name]) for name in ("patches of 8", "patches of 14"))
    assert large.width > small.width and large.coarse > small.coarse


@pytest.mark.parametrize("cell", [(2, 2), (4, 2), (7, 7)])
def test_cells_and_pictures_are_each_others_inverse(cell):
    images = torch.rand(2, 3, cell[0] * 3, cell[1] * 5)
    assert torch.equal(joined(cells_of(images, cell), cell), images)
