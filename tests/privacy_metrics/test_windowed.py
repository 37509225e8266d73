"""The fast SSIM is the reported one, whatever the size of the pictures, and losses can descend it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from atm.signals import ImageSignal
from privacy_metrics import ssim as reported
from privacy_metrics.windowed import SsimTo, ssim


def pair(shape, seed=0, noise=0.3):
    """Two pictures that resemble each other, in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    original = torch.rand(shape, generator=generator)
    return (original + noise * torch.randn(shape, generator=generator)).clamp(0, 1), original


@pytest.mark.parametrize(
    "shape", [(2, 3, 32, 32), (2, 3, 64, 64), (1, 3, 224, 224), (2, 3, 24, 48), (2, 3, 65, 33), (2, 1, 32, 40)]
)
@pytest.mark.parametrize("noise", [0.02, 0.3, 3.0])
def test_it_is_the_reported_ssim(shape, noise):
    images, originals = pair(shape, noise=noise)
    torch.testing.assert_close(ssim(images, originals), reported(images, originals), rtol=0, atol=1e-4)


@settings(max_examples=25)
@given(
    st.integers(1, 3), st.sampled_from([1, 3]), st.integers(11, 70), st.integers(11, 70), st.floats(0, 1),
    st.integers(0, 1000),
)  # fmt: skip
def test_it_is_the_reported_ssim_for_any_picture(count, channels, height, width, noise, seed):
    images, originals = pair((count, channels, height, width), seed, noise)
    torch.testing.assert_close(ssim(images, originals), reported(images, originals), rtol=0, atol=1e-4)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_flat_pictures_have_the_reported_ssim(level):
    flat, (other, _) = torch.full((1, 3, 32, 32), level), pair((1, 3, 32, 32))
    for images, originals in ((flat, other), (other, flat), (flat, flat)):
        expected = reported(images, originals)
        torch.testing.assert_close(ssim(images, originals), expected, rtol=0, atol=1e-4)


def test_originals_are_compared_one_by_one():
    images, originals = pair((3, 3, 32, 32))
    alone = torch.cat([ssim(images[i : i + 1], originals[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(SsimTo(originals)(images), alone)


@settings(max_examples=25)
@given(st.integers(0, 1000), st.sampled_from(["random", "same", "flat", "black"]))
def test_its_gradient_is_finite(seed, kind):
    """Also where it is best, and where variances are 0."""
    images, originals = pair((1, 3, 24, 40), seed)
    start = {"random": images, "same": originals, "flat": images * 0 + 0.5, "black": images * 0}[kind]
    start = start.clone().requires_grad_()
    ssim(start, originals).sum().backward()
    assert start.grad is not None and bool(start.grad.isfinite().all())


def test_its_gradient_is_the_slope():
    images, originals = (each.double() for each in pair((1, 1, 12, 16)))
    measure = SsimTo(originals.float())
    start = images.float().requires_grad_()
    measure(start).sum().backward()
    assert start.grad is not None
    for row, column in ((0, 0), (5, 7), (11, 15)):
        step = torch.zeros_like(start)
        step[..., row, column] = 0.01
        with torch.no_grad():
            slope = float(measure(start + step) - measure(start - step)) / 0.02
        assert float(start.grad[0, 0, row, column]) == pytest.approx(slope, rel=0.05, abs=1e-4)


def test_a_stride_looks_at_some_rows_only():
    images, originals = pair((1, 1, 64, 64), noise=0.0)
    spoilt = images.clone()
    spoilt[..., 8:18, :] = 1 - spoilt[..., 8:18, :]  # between the windows around rows 0 and 24
    assert float(ssim(spoilt, originals, 24)) > 0.999 > float(ssim(spoilt, originals))


@pytest.mark.parametrize("side", [32, 224, 512, 1024])
def test_the_windows_of_the_loss_see_every_pixel(side):
    signal = ImageSignal((1, side, side), (1, 1))
    truth = torch.zeros(1, 1, side, side)
    estimate = torch.full_like(truth, 0.5).requires_grad_()
    signal.loss(estimate, truth).backward()
    l1 = 1 / truth.numel()
    assert bool((estimate.grad != l1).float().mean() > 0.98)


@pytest.mark.parametrize("stride", [1, 2, 3, 7])
def test_a_stride_takes_the_mean_over_those_windows_alone(stride):
    """Against scikit-image's map of SSIM, whose edges differ a little."""
    images, originals = pair((1, 1, 64, 96))
    images[..., 20:50, 30:] = originals[..., 20:50, 30:]
    _, every = structural_similarity(
        originals[0, 0].double().numpy(), images[0, 0].double().numpy(), data_range=1.0, gaussian_weights=True,
        use_sample_covariance=False, sigma=1.5, full=True,
    )  # fmt: skip
    wanted = torch.as_tensor(every)[::stride, ::stride].mean()
    assert float(ssim(images, originals, stride)) == pytest.approx(float(wanted), abs=3e-3)
