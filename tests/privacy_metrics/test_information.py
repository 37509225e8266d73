"""The bound on what symbols tell: of sources whose information is known, and at any number of samples."""

from __future__ import annotations

import math

import pytest
import torch

from privacy_metrics.information import information_bound

WIDTH, VARIANCE = 16, 0.01
FALLING = torch.linspace(1.5, 0.05, WIDTH, dtype=torch.float64).square()  # variances of the source
TRUTH = 0.5 * float(torch.log1p(FALLING / VARIANCE).sum())
POWER = 10.0 * float(FALLING.mean())


def source(images: int, seed: int, tokens: int = 1) -> torch.Tensor:
    """Gaussian tokens of a rotated diagonal covariance, inside the allowed power."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(9), dtype=torch.float64))[
        0
    ]
    drawn = torch.randn(images * tokens, WIDTH, generator=generator, dtype=torch.float64) * FALLING.sqrt()
    return drawn @ turn


def bound(clean: torch.Tensor, tokens: int = 1, **options) -> float:
    image = torch.arange(len(clean) // tokens).repeat_interleave(tokens)
    return information_bound(clean, image, VARIANCE, POWER, tokens, **options)


def plugged_in(clean: torch.Tensor) -> float:
    """The information of a Gaussian of the sample's own covariance."""
    return 0.5 * float(torch.log1p(torch.linalg.eigvalsh(clean.T.cov(correction=0)).clamp_min(0) / VARIANCE).sum())


@pytest.mark.parametrize("images", [20, 60, 300])
def test_sampling_cannot_break_it(images):
    samples = [source(images, seed) for seed in range(60)]
    assert sum(plugged_in(s) < TRUTH for s in samples) > 50, "what fits and evaluates on one sample is too small"
    assert sum(bound(s) < TRUTH for s in samples) <= 3, "the level of 95%"


def test_many_samples_bring_it_near():
    values = [bound(source(images, 0)) for images in (200, 2000, 20000)]
    assert values == sorted(values, reverse=True) and values[-1] == pytest.approx(TRUTH, rel=0.05)


def test_a_rare_kind_of_image_that_no_fit_has_seen_is_within_the_limit():
    """One image in 100 is far from all others and tells as much as the power permits; most samples show one or none."""
    wrong = 0
    for seed in range(60):
        clean = source(100, seed) * 0.02
        rare = torch.rand(100, generator=torch.Generator().manual_seed(seed)) < 0.01
        clean[rare] = source(100, seed + 1000)[rare]
        small = 0.5 * float(torch.log1p(0.02**2 * FALLING / VARIANCE).sum())
        wrong += bound(clean) < 0.99 * small + 0.01 * TRUTH
    assert wrong <= 3


def test_it_is_never_above_the_capacity_of_the_channel():
    capacity = WIDTH / 2 * math.log1p(POWER / VARIANCE)
    assert bound(source(3, 0)) == capacity, "one image to evaluate on says nothing"
    for images in (4, 20, 60):
        assert bound(source(images, 1)) <= capacity


def test_white_symbols_of_full_power_tell_as_much_as_the_capacity():
    clean = torch.randn(4000, WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    clean = clean / clean.square().mean(1, keepdim=True).sqrt() * POWER**0.5
    assert bound(clean) == pytest.approx(WIDTH / 2 * math.log1p(POWER / VARIANCE), rel=0.02)


def test_far_clusters_tell_their_entropy_and_more_clusters_are_tighter():
    generator = torch.Generator().manual_seed(2)
    member = torch.randint(0, 4, (8000,), generator=generator)
    clean = (torch.randn(4, 6, generator=generator, dtype=torch.float64) * 50)[member]
    image, power = torch.arange(8000), float(clean.square().mean(1).max())
    several = information_bound(clean, image, 1.0, power, 1, clusters=(4,))
    assert math.log(4) < several < math.log(4) + 0.8
    assert several < information_bound(clean, image, 1.0, power, 1, clusters=(1,)) / 2


def test_tokens_of_an_image_are_added_up():
    assert bound(source(3000, 5, tokens=4), tokens=4) == pytest.approx(4 * bound(source(3000, 5)), rel=0.05)


def test_clusters_of_too_few_samples_are_left_out():
    clean = source(40, 3)
    assert bound(clean, clusters=(1, 16)) == bound(clean, clusters=(1,)) == bound(clean, clusters=())


def test_more_confidence_is_a_higher_limit():
    clean = source(2000, 7)
    assert bound(clean, level=0.9) < bound(clean, level=0.99)


def test_more_power_or_tokens_than_there_can_be_are_refused():
    clean = source(40, 3, tokens=2)
    with pytest.raises(ValueError, match="more than 1 tokens"):
        information_bound(clean, torch.arange(40).repeat_interleave(2), VARIANCE, POWER, 1)
    with pytest.raises(ValueError, match=r"power of 0\.1"):
        information_bound(clean, torch.arange(40).repeat_interleave(2), VARIANCE, 0.1, 2)
