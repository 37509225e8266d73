"""Ridge regression from sums is the ridge regression of the textbook, solved here in numpy's double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attacks.linear import STRENGTHS, Dual, Moments, chosen

SEEDS = st.integers(0, 1000)


def problem(seed, count, positions=3, features=6, targets=2, noise=0.5):
    """Features that differ in mean and scale, and noisy targets with an intercept for each position."""
    generator = torch.Generator().manual_seed(seed)
    means, scales = 5 * torch.randn(positions, features, generator=generator), torch.logspace(-1, 1, features)
    truth = torch.randn(features, targets, generator=generator)
    intercepts = torch.randn(positions, targets, generator=generator)
    x = torch.randn(count, positions, features, generator=generator)
    y = x @ truth + intercepts + noise * torch.randn(count, positions, targets, generator=generator)
    return x * scales + means, y


def direct(x, y, strength):
    """Weights in the standardised features, by the normal equations; gives the prediction."""
    x, y = x.double().numpy(), y.double().numpy()
    mean_x, mean_y = x.mean(0), y.mean(0)
    centred, wanted = (x - mean_x).reshape(-1, x.shape[2]), (y - mean_y).reshape(-1, y.shape[2])
    scale = centred.std(0)
    z = centred / scale
    covariance = z.T @ z / len(z)
    damped = covariance + strength * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    weights = np.linalg.solve(damped, z.T @ wanted / len(z))
    return lambda new: (new.double().numpy() - mean_x) / scale @ weights + mean_y


def held_out_errors(train, held):
    """Mean squared error on held-out images with each strength."""
    return np.array([np.square(direct(*train, s)(held[0]) - held[1].double().numpy()).mean() for s in STRENGTHS])


@given(SEEDS, st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_moments_that_come_in_parts_are_those_of_all_at_once(seed, sizes):
    x, y = problem(seed, sum(sizes))
    x, y = x.double(), y.double()
    streamed = Moments.streamed(zip(x.split(sizes), y.split(sizes), strict=True))
    whole = Moments.of(x, y, streamed.shift)
    assert streamed.count == whole.count == sum(sizes)
    for name in ("x", "y", "xx", "xy"):
        torch.testing.assert_close(getattr(streamed, name), getattr(whole, name))


def test_no_parts_are_refused():
    with pytest.raises(ValueError, match="no parts"):
        Moments.streamed([])


@given(SEEDS, st.integers(1, 60))
def test_the_order_and_the_size_of_parts_do_not_change_the_solution(seed, size):
    (x, held_x), (y, held_y) = (each.split([60, 20]) for each in problem(seed, 80))
    held = Moments.of(held_x, held_y)
    at_once = chosen(Moments.of(x, y), held)
    turned = Moments.streamed(zip(x.flip(0).split(size), y.flip(0).split(size), strict=True))
    torch.testing.assert_close(chosen(turned, held)(x), at_once(x), rtol=1e-3, atol=1e-3)


@given(SEEDS, st.integers(0, len(STRENGTHS) - 1))
def test_each_strength_is_the_direct_solution(seed, strength):
    x, y = problem(seed, 60)
    new, _ = problem(seed + 1, 10)
    found = Moments.of(x.double(), y.double()).solve().at(strength)(new)
    np.testing.assert_allclose(found, direct(x, y, STRENGTHS[strength])(new), rtol=1e-3, atol=1e-3)


@given(SEEDS, st.floats(0.1, 20))
def test_errors_without_rebuilding_are_those_of_explicit_held_out_predictions(seed, noise):
    """Up to a constant, and so in the same order; the held-out images' sums have a shift of their own."""
    x, y = (part.double() for part in problem(seed, 50, noise=noise))
    train, held = (x[:30], y[:30]), (x[30:], y[30:])
    implicit = Moments.of(*held).errors(Moments.of(*train).solve()).numpy() / held[1].numel()
    explicit = held_out_errors(train, held)
    constant = explicit[-1] - implicit[-1]
    np.testing.assert_allclose(implicit + constant, explicit, rtol=1e-6, atol=1e-9)


@given(SEEDS, st.floats(0.1, 20))
def test_the_chosen_regression_is_the_direct_one_with_the_least_held_out_error(seed, noise):
    x, y = problem(seed, 50, noise=noise)
    train, held = (x[:30], y[:30]), (x[30:], y[30:])
    found = chosen(Moments.of(*train), Moments.of(*held))(held[0]).double()
    errors = held_out_errors(train, held)
    assert float((found - held[1]).square().mean()) == pytest.approx(float(errors.min()), rel=1e-3)
    best = direct(*train, STRENGTHS[int(errors.argmin())])(held[0])
    if np.partition(errors, 1)[1] > 1.001 * errors.min():  # else rounding may choose its neighbour
        np.testing.assert_allclose(found, best, rtol=1e-3, atol=1e-3)


def test_strong_noise_asks_for_a_strong_regression():
    """Not the same strength whatever the data: else choosing would be for nothing."""
    kept = []
    for noise in (0.01, 30.0):
        x, y = problem(0, 50, features=20, noise=noise)
        kept.append(held_out_errors((x[:15], y[:15]), (x[15:], y[15:])).argmin())
    assert kept[0] < kept[1]


def test_a_feature_that_never_changes_harms_nothing():
    (x, held_x), (y, held_y) = (each.split([60, 20]) for each in problem(0, 80))
    alone = chosen(Moments.of(x, y), Moments.of(held_x, held_y))(held_x)
    dead, held_dead = (torch.cat([each, torch.full_like(each[..., :1], 3.0)], -1) for each in (x, held_x))
    beside = chosen(Moments.of(dead, y), Moments.of(held_dead, held_y))(held_dead)
    torch.testing.assert_close(beside, alone, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("unit", [1e-9, 1e-6, 1e6])
def test_features_count_in_any_unit(unit):
    (x, held_x), (y, held_y) = (each.split([60, 20]) for each in problem(0, 80))
    wanted = chosen(Moments.of(x, y), Moments.of(held_x, held_y))(held_x)
    found = chosen(Moments.of(x * unit, y), Moments.of(held_x * unit, held_y))(held_x * unit)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("level", [100.0, 1000.0])
def test_what_changes_by_rounding_alone_has_no_weight_where_it_does_change(level):
    (x, held_x), (y, held_y) = (each.split([60, 20]) for each in problem(0, 80))
    rounded = torch.full_like(x[..., :1], level) * (1 + 6e-8 * torch.randn(x[..., :1].shape))
    dead, held_dead = torch.cat([x, rounded], -1), torch.cat([held_x, torch.full_like(held_x[..., :1], level)], -1)
    fitted = chosen(Moments.of(dead, y), Moments.of(held_dead, held_y))
    moved = held_dead.clone()
    moved[..., -1] += level
    torch.testing.assert_close(fitted(moved), fitted(held_dead))


@given(SEEDS, st.sampled_from([(20, 8), (8, 20)]), st.floats(0.1, 20))
def test_the_dual_is_the_primal_with_the_same_strengths(seed, shape, noise):
    """Features are only centred there, and a strength is relative to the mean squared norm of an image."""
    count, features = shape
    x, y = problem(seed, count + 10, 1, features, noise=noise)
    x, y = x[:, 0].double() / 10, y[:, 0].double()
    (known, held_x), (wanted, held_y) = x.split([count, 10]), y.split([count, 10])
    centred, target = known - known.mean(0), wanted - wanted.mean(0)
    product = centred.T @ centred
    tried = []
    for strength in STRENGTHS:
        damping = strength * product.trace() / count * torch.eye(features, dtype=torch.float64)
        tried.append(torch.linalg.solve(product + damping, centred.T @ target))
    predicted = [(held_x - known.mean(0)) @ weights + wanted.mean(0) for weights in tried]
    best = min(predicted, key=lambda each: float((each - held_y).square().mean()))
    found = Dual.chosen(known, wanted, held_x, held_y)(held_x)
    torch.testing.assert_close(found, best, rtol=1e-4, atol=1e-4)
