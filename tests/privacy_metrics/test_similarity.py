"""SSIM and PSNR against scikit-image, which computes them on its own."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch.nn.functional import avg_pool2d

from privacy_metrics import psnr, ssim, windowed
from privacy_metrics.similarity import PSNR_CAP, structure
from tests.privacy_metrics.images import noisy, photos

BOTH = pytest.mark.parametrize("metric", [ssim, psnr])
RECONSTRUCTIONS = {
    "noisy": noisy(photos()),
    "blurred": avg_pool2d(photos(), 5, 1, 2),
    "another picture": photos().flip(0),
    "mean image": photos().mean(0, keepdim=True).expand(4, -1, -1, -1),
}


def reference_ssim(reconstruction, original):
    """scikit-image's, over the whole image: its mean leaves out 5 pixels at each edge, so they are added before."""
    padded = [np.pad(image.numpy(), ((0, 0), (5, 5), (5, 5)), mode="reflect") for image in (reconstruction, original)]
    return structural_similarity(
        *padded, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, channel_axis=0
    )


@pytest.mark.parametrize("kind", RECONSTRUCTIONS)
def test_ssim_is_that_of_scikit_image(kind):
    reconstruction, original = RECONSTRUCTIONS[kind], photos()
    expected = [reference_ssim(ours, theirs) for ours, theirs in zip(reconstruction, original, strict=True)]
    assert ssim(reconstruction, original).tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("kind", RECONSTRUCTIONS)
def test_psnr_is_that_of_scikit_image(kind):
    reconstruction, original = RECONSTRUCTIONS[kind], photos()
    pairs = zip(reconstruction.numpy(), original.numpy(), strict=True)
    expected = [peak_signal_noise_ratio(theirs, ours, data_range=1) for ours, theirs in pairs]
    assert psnr(reconstruction, original).tolist() == pytest.approx(expected, abs=1e-3)


def test_psnr_takes_one_as_the_peak_and_not_255():
    grey = torch.full((1, 3, 8, 8), 0.5)
    assert psnr(grey + 0.1, grey).item() == pytest.approx(20.0, abs=1e-3)
    black_for_white = psnr(torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8))
    assert black_for_white.item() == pytest.approx(0.0, abs=1e-4)


def test_ssim_sees_a_change_at_the_very_edge():
    original = photos(1)
    framed = original.clone()
    framed[..., 0, :] = framed[..., -1, :] = framed[..., :, 0] = framed[..., :, -1] = 0
    assert ssim(framed, original).item() < 0.95


def test_identical_images_get_the_finite_maximum():
    assert ssim(photos(), photos()).tolist() == pytest.approx([1.0] * 4, abs=1e-6)
    assert psnr(photos(), photos()).tolist() == [PSNR_CAP] * 4


@BOTH
def test_more_noise_scores_lower(metric):
    scores = torch.stack([metric(noisy(photos(), sigma), photos()) for sigma in (0.02, 0.1, 0.4)])
    assert (scores.diff(dim=0) < 0).all()


@BOTH
def test_an_image_scores_the_same_in_any_company(metric):
    original = photos(8)
    reconstruction = noisy(original)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    together = metric(reconstruction, original)
    alone = torch.cat([metric(reconstruction[i : i + 1], original[i : i + 1]) for i in range(8)])
    assert together.shape == (8,)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(together[order], metric(reconstruction[order], original[order]), rtol=0, atol=1e-5)


def test_batches_keep_the_order_of_the_images():
    original = photos(3).repeat(30, 1, 1, 1)  # more than one batch of SSIM
    scores = ssim(noisy(photos(3)).repeat(30, 1, 1, 1), original)
    torch.testing.assert_close(scores, scores[:3].repeat(30), rtol=0, atol=1e-5)


shapes = st.tuples(st.integers(1, 3), st.sampled_from([1, 3]), st.integers(6, 40), st.integers(6, 40))
ALL = pytest.mark.parametrize("metric", [ssim, psnr, windowed.ssim])


def pair(shape, seed):
    return torch.rand(2, *shape, generator=torch.Generator().manual_seed(seed))


@ALL
@given(shapes, st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_a_grey_picture_scores_as_three_equal_channels(metric, shape, seed):
    reconstruction, original = pair((shape[0], 1, *shape[2:]), seed)
    in_colour = metric(reconstruction.repeat(1, 3, 1, 1), original.repeat(1, 3, 1, 1))
    torch.testing.assert_close(metric(reconstruction, original), in_colour, rtol=1e-5, atol=1e-5)


@ALL
@given(shapes, st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_a_picture_on_its_side_scores_the_same(metric, shape, seed):
    reconstruction, original = pair(shape, seed)
    torch.testing.assert_close(metric(reconstruction.mT, original.mT), metric(reconstruction, original),
                               rtol=1e-5, atol=1e-5)  # fmt: skip


@BOTH
@pytest.mark.parametrize("channels", [0, 2, 4])
def test_what_is_neither_colour_nor_grey_is_refused(metric, channels):
    with pytest.raises(ValueError, match=rf"\[1, {channels}, 8, 8\]"):
        metric(torch.rand(1, channels, 8, 8), torch.rand(1, channels, 8, 8))


@BOTH
def test_scores_are_float32_without_gradient_for_any_float(metric):
    reconstruction = noisy(photos()).double().requires_grad_()
    scores = metric(reconstruction, photos().double())
    assert scores.dtype == torch.float32 and not scores.requires_grad


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_scores_stay_in_range_even_for_flat_images(level, contrast, seed):
    texture = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    reconstruction = (level + contrast * (texture - 0.5)).clamp(0, 1)
    original = torch.full((1, 3, 12, 12), level)
    assert -1 <= ssim(reconstruction, original).item() <= 1
    assert -1e-3 <= psnr(reconstruction, original).item() <= PSNR_CAP


def test_what_rounding_adds_on_plain_images_is_taken_away():
    original = torch.rand(300, 3, 1, 1, generator=torch.Generator().manual_seed(0)).expand(-1, -1, 64, 64)
    reconstruction = (original + 1e-4).clamp(0, 1)
    assert structure(reconstruction, original).mean((1, 2, 3)).max() > 1
    assert ssim(reconstruction, original).max() == 1


@BOTH
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x[:2], r"\[2, 3, 32, 32\]"),
        (lambda x: x[..., :16], r"\[4, 3, 32, 16\]"),
        (lambda x: x[:, :1], r"\[4, 1, 32, 32\]"),
        (lambda x: x[0], r"\[3, 32, 32\]"),
        (lambda x: x * 255, r"\[0, 1\]"),
        (lambda x: x * 2 - 1, r"\[0, 1\]"),
        (lambda x: (x * 255).byte(), "uint8"),
        (lambda x: x.where(x > x.min(), torch.nan), "nan"),
        (lambda x: x.where(x > x.min(), torch.inf), "inf"),
    ],
)
def test_what_is_no_pair_of_images_is_refused_in_one_line(metric, change, words):
    for pair in ((change(photos()), photos()), (photos(), change(photos()))):
        with pytest.raises(ValueError, match=words) as caught:
            metric(*pair)
        assert "\n" not in str(caught.value)


@BOTH
def test_no_images_are_refused(metric):
    with pytest.raises(ValueError, match="no images"):
        metric(photos()[:0], photos()[:0])


def test_ssim_refuses_images_smaller_than_its_mirrored_edge():
    assert ssim(photos(1, side=6), photos(1, side=6)).item() == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match="5x5"):
        ssim(photos(1, side=5), photos(1, side=5))
