"""What is expected of the full suite in policies that it did not attack."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.quasirandom import SobolEngine

from audit.pareto.fidelity import FEWEST, expected
from audit.pareto.trials import Trial

LAYERS, COUNT = 3, 24
UNITS = SobolEngine(LAYERS, scramble=True, seed=3).draw(COUNT).double()


def score(units: torch.Tensor) -> torch.Tensor:
    """What merging leaves of a leak; `suite` is above it, and more so where little is merged."""
    return 0.2 + 0.4 * torch.exp(-units @ torch.tensor([1.5, 0.8, 0.3], dtype=torch.float64))


def suite(units: torch.Tensor) -> torch.Tensor:
    return 1.2 * score(units) + 0.05


def trials() -> list[Trial]:
    values = score(UNITS).tolist()
    return [Trial(n, (0.5,) * LAYERS, "", "", {"leakage": v}, {"leakage": 1e-6}) for n, v in enumerate(values)]


def attacked(trials: list[Trial], numbers) -> dict[str, tuple[float, float, float]]:
    return {trials[n].name: (float(suite(UNITS)[n]),) * 3 for n in numbers}


def test_what_the_suite_would_find_is_expected_and_the_score_is_below_it():
    known = trials()
    order = score(UNITS).argsort().tolist()
    full = attacked(known, [order[0], order[6], order[12], order[18], order[-1]])
    found = expected(known, UNITS.tolist(), full)
    assert found.keys() == {trial.name for trial in known} - full.keys()
    truth = {trial.name: float(value) for trial, value in zip(known, suite(UNITS), strict=True)}
    errors = [abs(found[name][0] - truth[name]) for name in found]
    missed = [truth[t.name] - t.values["leakage"] for t in known if t.name in found]
    assert sum(errors) / len(errors) < 0.015 and min(missed) > 0.08
    inside = sum(low <= truth[name] <= high for name, (_, low, high) in found.items())
    assert inside >= 0.9 * len(found)
    assert all(0 <= low <= estimate <= high <= 1 for estimate, low, high in found.values())


def test_it_is_no_wider_than_what_the_score_leaves_open():
    """The suite of a policy is known better with the score of all than from so few attacked policies alone."""
    known, full = trials(), attacked(trials(), range(0, COUNT, 6))
    flat = [replace(trial, values={"leakage": 0.3 + 1e-3 * (trial.number % 2)}) for trial in known]

    def off(found) -> float:
        return sum(abs(found[name][0] - float(suite(UNITS)[int(name[-4:])])) for name in found) / len(found)

    assert off(expected(known, UNITS.tolist(), full)) < 0.7 * off(expected(flat, UNITS.tolist(), full))


@pytest.mark.parametrize("count", range(FEWEST))
def test_nothing_is_expected_from_too_few(count):
    known = trials()
    assert expected(known, UNITS.tolist(), attacked(known, range(count))) == {}


def test_where_all_were_attacked_nothing_is_left_and_failed_ones_are_left_out():
    known = trials()
    assert expected(known, UNITS.tolist(), attacked(known, range(COUNT))) == {}
    broken = replace(known[0], values={}, failure="nothing works here")
    found = expected([broken, *known[1:]], UNITS.tolist(), attacked(known, [3, 9, 15]))
    assert broken.name not in found and len(found) == COUNT - 4


def test_it_is_the_same_again_and_leaves_the_random_generator_alone():
    known, full = trials(), attacked(trials(), [1, 5, 9])
    state = torch.get_rng_state()
    assert expected(known, UNITS.tolist(), full) == expected(known, UNITS.tolist(), full)
    assert torch.equal(state, torch.get_rng_state())
