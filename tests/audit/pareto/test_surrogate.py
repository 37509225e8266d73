"""What the model takes from a policy: how few tokens are left, so that it foretells much from few evaluations."""

from __future__ import annotations

from math import log2
from statistics import mean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.quasirandom import SobolEngine

from audit.pareto.objectives import chosen
from audit.pareto.surrogate import Remaining, Surrogate
from audit.pareto.trials import Trial

LAYERS = 6
OBJECTIVES = chosen(["tokens", "gflops"])


def merged(unit: list[float], tokens: float = 64.0) -> list[float]:
    """Tokens after each layer, where every second one may merge and so many of these do."""
    left = []
    for part in unit:
        tokens -= part * (tokens / 2)
        left.append(tokens)
    return left


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_what_is_left_is_counted_as_layers_merge_it(unit):
    made = Remaining()(torch.tensor([unit], dtype=torch.float64))[0].tolist()
    left, most = merged(unit), merged([1.0] * len(unit))
    before = [64.0, *left[:-1]]
    assert made[:-2] == pytest.approx([log2(b / a) for b, a in zip(before, left, strict=True)], abs=1e-9)
    assert made[-2] == pytest.approx(log2(64 / left[-1]) / log2(64 / most[-1]), abs=1e-9)
    assert made[-1] == pytest.approx(log2(64 / mean(left)) / log2(64 / mean(most)), abs=1e-9)


def trials(units: Tensor) -> list[Trial]:
    """Encoders whose first layers merge less than they are asked to, so that nothing is exactly as it is counted."""
    found = []
    for number, unit in enumerate(units.tolist()):
        left = merged([part ** (1 + 0.5 / (layer + 1)) for layer, part in enumerate(unit)])
        found.append(Trial(number, (), "", "", {"tokens": left[-1] + 1, "gflops": 0.1 + sum(left) / 100}))
    return found


def test_ten_policies_foretell_tokens_and_flops_of_others():
    told, asked = (SobolEngine(LAYERS, scramble=True, seed=seed).draw(n).double() for seed, n in ((1, 10), (2, 200)))
    surrogate = Surrogate.fit(OBJECTIVES, trials(told), told)
    with torch.no_grad():
        means = surrogate.on(trials(told), told, told[:0]).posterior(asked).mean
        found = surrogate.values(means).log()
    true = torch.tensor([[t.values[o.name] for o in OBJECTIVES] for t in trials(asked)]).double().log()
    assert ((found - true).square().mean(0).sqrt() / true.std(0)).max() < 0.2
