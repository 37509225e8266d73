"""Attacks that are better than can be: only what is sure, among all attacks and bounds, breaks the trust in a run."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from reports.findings import bound
from tests.reports.scores import NAME, run_of


def errors(mean: float, n: int = 50, seed: int = 0) -> np.ndarray:
    return mean * (1 + 0.2 * np.random.default_rng(seed).normal(size=n))


def run(proven, **attacks):
    return run_of({a: {"psnr": -10 * np.log10(e)} for a, e in attacks.items()}, proven=proven)


def test_an_error_surely_below_the_least_possible_one_is_found():
    found = bound(run({"Wiener": 0.02}, ridge=errors(0.01)), NAME)
    assert (found.about, found.level, found.chance) == ("bound", "beats the bound", 0.02)
    assert found.rate.estimate == pytest.approx(errors(0.01).mean()) and found.rate.n == 50
    assert "ridge" in found.sentence and "Wiener" in found.sentence


def test_an_error_above_it_or_level_with_it_is_not():
    assert bound(run({"Wiener": 0.02}, ridge=errors(0.03)), NAME) is None
    assert bound(run({"Wiener": float(errors(0.02).mean())}, ridge=errors(0.02)), NAME) is None
    assert bound(run({"Wiener": 0.02}, ridge=errors(0.01)[:1]), NAME) is None, "one picture shows nothing"
    assert bound(run({"Wiener": 0.02}, ridge=errors(0.01)[:2]), NAME) is not None
    assert bound(run({}, ridge=errors(0.01)), NAME) is None
    assert bound(run_of({"ridge": {"psnr": [20.0] * 50}}), NAME) is None, "nothing is claimed"


def test_attacks_and_bounds_are_tested_together():
    """A p-value of 0.03 is a finding alone, and none among two."""
    values = errors(0.01)
    least = next(x for x in np.linspace(0.01, 0.02, 10_000) if ttest_1samp(values, x, alternative="less").pvalue < 0.03)
    assert bound(run({"Wiener": least}, ridge=values), NAME) is not None
    assert bound(run({"Wiener": least}, ridge=values, decoder=errors(0.05)), NAME) is None
    assert bound(run({"Wiener": least, "other": 0.001}, ridge=values), NAME) is None


@pytest.mark.parametrize("p_value, found", [(0.05, False), (0.0499, True)])
def test_what_is_not_below_a_twentieth_is_not_sure(monkeypatch, p_value, found):
    monkeypatch.setattr("reports.findings.paired_p_value", lambda *given: p_value)
    assert (bound(run({"Wiener": 0.02}, ridge=errors(0.01)), NAME) is not None) == found


def test_the_attack_that_beats_it_furthest_is_named():
    found = bound(run({"Wiener": 0.04}, ridge=errors(0.01), decoder=errors(0.02), whole=errors(0.05)), NAME)
    assert "ridge" in found.sentence and found.rate.estimate == pytest.approx(errors(0.01).mean())


def test_errors_of_repeats_are_averaged_by_picture():
    tables = np.stack([errors(0.01), errors(0.05, seed=1)])
    averaged = bound(run({"Wiener": 0.04}, ridge=tables), NAME)
    assert averaged.rate.estimate == pytest.approx(tables.mean()) and averaged.rate.n == 50
