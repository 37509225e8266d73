"""Bounds on linear systems with Gaussian images and noise, where the least error is known in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from privacy_metrics.bounds import (
    GaussianPrior,
    dfil,
    entropy_bound,
    mixture_information,
    unbiased_bound,
    van_trees_bound,
)

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
    bound = float(unbiased_bound(dfil((a.T @ a).trace()[None], D, variance)))
    assert bound == pytest.approx(error) if kind == "orthogonal" else bound < error


@pytest.mark.parametrize("variance", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("kind", ["orthogonal", "general", "wide"])
def test_bounds_for_any_attacker_are_below_the_least_error_and_equal_for_an_orthogonal_map(kind, variance):
    a, prior = system(kind), 0.3
    identity = torch.eye(D, dtype=torch.float64)
    least = float(torch.linalg.inv(a.T @ a / variance + identity / prior).trace()) / D
    trees = van_trees_bound(dfil((a.T @ a).trace()[None], D, variance), 1 / prior)
    information = 0.5 * float(torch.logdet(identity[: len(a), : len(a)] + prior * a @ a.T / variance))
    entropy = entropy_bound(prior, information, D)
    if kind == "orthogonal":
        assert trees == pytest.approx(least) and entropy == pytest.approx(least)
    else:
        assert 0 < trees < least and 0 < entropy < least


def test_an_unbiased_bound_can_be_beaten_with_a_prior():
    a, variance, prior = system("orthogonal"), 100.0, 0.3
    assert float(unbiased_bound(dfil((a.T @ a).trace()[None], D, variance))) > prior, "the mean image does better"


def test_information_of_a_gaussian_is_its_closed_form():
    a, variance = system("general").float(), 0.5
    clean = torch.randn(20000, D, generator=torch.Generator().manual_seed(1)) @ a.T
    exact = 0.5 * float(torch.logdet(torch.eye(D) + a @ a.T / variance))
    assert mixture_information(clean, variance) == pytest.approx(exact, rel=0.01)


def test_information_of_far_clusters_is_their_entropy_and_more_clusters_are_tighter():
    generator = torch.Generator().manual_seed(2)
    member = torch.randint(0, 4, (4000,), generator=generator)
    centres = torch.randn(4, 6, generator=generator) * 50
    clean = centres[member]
    assert mixture_information(clean, 1.0, (4,)) == pytest.approx(math.log(4), rel=0.01)
    assert mixture_information(clean, 1.0) < mixture_information(clean, 1.0, (1,)) / 2


def test_no_clusters_of_too_few_samples():
    clean = torch.randn(40, 10, generator=torch.Generator().manual_seed(3))
    assert mixture_information(clean, 1.0, (1, 16)) == mixture_information(clean, 1.0, (1,))


def test_prior_of_gaussian_pieces():
    variances = torch.tensor([0.5, 2.0, 1.0, 4.0])
    pieces = torch.randn(50000, 4, generator=torch.Generator().manual_seed(4)) * variances.sqrt()
    prior = GaussianPrior.of(pieces)
    assert prior.entropy_power == pytest.approx(float(variances.log().mean().exp()), rel=0.02)
    assert prior.information == pytest.approx(float((1 / variances).mean()), rel=0.02)
