"""Bounds on linear systems with Gaussian images and noise, where the least error is known in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from privacy_metrics.bounds import FEWEST, GROUPS, GaussianPrior, dfil, entropy_bound, unbiased_bound, van_trees_bound

D = 12


def system(kind: str, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(D, D, generator=generator, dtype=torch.float64)
    if kind == "orthogonal":
        return 1.7 * torch.linalg.qr(a)[0]
    return a[: D // 2] if kind == "wide" else a


@pytest.mark.parametrize("variance", [0.01, 1.0])
@pytest.mark.parametrize("kind", ["orthogonal", "general"])
def test_unbiased_bound_is_below_least_squares_and_equal_for_an_orthogonal_map(kind, variance):
    a = system(kind)
    error = variance * float(torch.linalg.inv(a.T @ a).trace()) / D  # of the best unbiased estimate, least squares
    bound = unbiased_bound(float(dfil((a.T @ a).trace(), D, variance)))
    assert bound == pytest.approx(error) if kind == "orthogonal" else bound < error


@pytest.mark.parametrize("variance", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("kind", ["orthogonal", "general", "wide"])
def test_bounds_for_any_attacker_are_below_the_least_error_and_equal_for_an_orthogonal_map(kind, variance):
    a, prior = system(kind), 0.3
    identity = torch.eye(D, dtype=torch.float64)
    least = float(torch.linalg.inv(a.T @ a / variance + identity / prior).trace()) / D
    trees = van_trees_bound(float(dfil((a.T @ a).trace(), D, variance)), 1 / prior)
    information = 0.5 * float(torch.logdet(identity[: len(a), : len(a)] + prior * a @ a.T / variance))
    entropy = entropy_bound(prior, information, D)
    if kind == "orthogonal":
        assert trees == pytest.approx(least) and entropy == pytest.approx(least)
    else:
        assert 0 < trees < least and 0 < entropy < least


def test_an_unbiased_bound_can_be_beaten_with_a_prior():
    a, variance, prior = system("orthogonal"), 100.0, 0.3
    assert unbiased_bound(float(dfil((a.T @ a).trace(), D, variance))) > prior, "the mean image does better"


def test_prior_of_gaussian_pieces_is_near_and_on_the_safe_side():
    variances = torch.tensor([0.5, 2.0, 1.0, 4.0])
    pieces = torch.randn(5000, 10, 4, generator=torch.Generator().manual_seed(4)) * variances.sqrt()
    prior = GaussianPrior.of(pieces + 3)
    power, information = float(variances.log().mean().exp()), float((1 / variances).mean())
    assert prior.entropy_power == pytest.approx(power, rel=0.03) and prior.entropy_power < power
    assert prior.information == pytest.approx(information, rel=0.03) and prior.information > information
    assert GaussianPrior.of(pieces, 0.999).entropy_power < prior.entropy_power
    assert GaussianPrior.of(pieces, 0.999).information > prior.information


@pytest.mark.parametrize("shape", [(40, 16, 6), (2000, 4, 6)])
@pytest.mark.parametrize("alike", [0.0, 0.7])
def test_sampling_puts_the_prior_on_the_wrong_side_no_more_often_than_its_level_allows(shape, alike):
    mix = torch.linspace(0.2, 2, 6).diag().double() @ torch.linalg.qr(system("general")[:6, :6])[0]
    power, information = float(torch.logdet(mix.T @ mix) / 6), float(torch.linalg.inv(mix.T @ mix).trace()) / 6
    wrong = torch.zeros(2)
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        own = torch.randn(shape, generator=generator, dtype=torch.float64)
        common = torch.randn(shape[0], 1, 6, generator=generator, dtype=torch.float64)
        prior = GaussianPrior.of((alike**0.5 * common + (1 - alike) ** 0.5 * own) @ mix)
        wrong += torch.tensor([math.log(prior.entropy_power) > power, prior.information < information])
    assert wrong.max() <= 10, "5% and three standard errors"


def test_no_prior_from_too_few_patches():
    enough = torch.rand(GROUPS, FEWEST, GROUPS, generator=torch.Generator().manual_seed(0))
    assert GaussianPrior.of(enough).information > 0
    for few in (enough[:-1], enough[:, :-1]):
        with pytest.raises(ValueError, match="too few: a distribution of 20 dimensions needs 400 of 20"):
            GaussianPrior.of(few)


def test_small_eigenvalues_count_as_the_floor():
    flat = torch.zeros(400, 5, 4)
    prior = GaussianPrior.of(flat, floor=1e-3)
    assert prior.entropy_power == pytest.approx(1e-3) and prior.information == pytest.approx(1e3)
