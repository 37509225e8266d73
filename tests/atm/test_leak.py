"""The linear adversary with gradients against the same regression by another library, and planted leaks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atm.leak import STRENGTH, explained


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_it_is_ridge_regression_from_one_half_to_the_other():
    tokens, patches = numbers(8, 6, 4), numbers(8, 6, 3, seed=1)
    patches = patches + tokens[..., :3]
    x, y, asked, truth = (
        part.flatten(0, 1).double().numpy() for part in (tokens[:4], patches[:4], tokens[4:], patches[4:])
    )
    centre, mean = x.mean(0), y.mean(0)
    x, y = x - centre, y - mean
    strength = STRENGTH * np.mean(np.sum(x * x, 0))
    stacked = np.vstack((x, np.sqrt(strength) * np.eye(4)))  # ridge as ordinary least squares with more rows
    weights = np.linalg.lstsq(stacked, np.vstack((y, np.zeros((4, 3)))), rcond=None)[0]
    error = np.mean(((asked - centre) @ weights - (truth - mean)) ** 2) / np.mean((truth - mean) ** 2)
    assert 0.2 < 1 - error < 0.9
    assert float(explained(tokens, patches)) == pytest.approx(1 - error, abs=1e-5)


def test_a_planted_leak_is_found_and_where_there_is_none_nothing_is():
    tokens = numbers(40, 16, 8)
    assert float(explained(tokens, tokens @ numbers(8, 5, seed=2))) > 0.99
    assert float(explained(tokens, numbers(40, 16, 5, seed=3))) < 0.02


def test_its_gradient_hides_what_is_planted():
    patches, secret = numbers(16, 8, 2, seed=4), torch.ones(1, requires_grad=True)
    tokens = torch.cat((numbers(16, 8, 3), numbers(16, 8, 2, seed=5) + secret * patches), -1)
    leak = explained(tokens, patches)
    leak.backward()
    assert 0.2 < leak.item() < 0.9 and float(secret.grad) > 0
