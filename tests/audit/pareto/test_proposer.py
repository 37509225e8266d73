"""What the model is told: the noise of what was measured, and the constraints."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch.quasirandom import SobolEngine

from atm.policy import MergePolicy
from audit.pareto.objectives import Bound, bounds, chosen
from audit.pareto.proposer import Proposer
from audit.pareto.surrogate import Surrogate
from audit.pareto.trials import Trial
from tests.audit.pareto.toy import LAYERS, Toy

UNITS = SobolEngine(LAYERS, scramble=True, seed=4).draw(24).double()
OBJECTIVES = chosen(["accuracy", "tokens"])


def trials(toy: Toy, noise: float = 1e-8) -> list[Trial]:
    found = []
    for number, unit in enumerate(UNITS.tolist()):
        thresholds = toy.space.thresholds(unit)
        values = dict(toy.measure(MergePolicy(thresholds)).values)
        found.append(Trial(number, thresholds, "start", str(number), values, dict.fromkeys(values, noise)))
    return found


def kept(limits: tuple[Bound, ...], told: tuple[Bound, ...], seed: int) -> float:
    """Part of the ten best candidates that keep ``limits``, where the proposer knows of ``told``."""
    toy = Toy()
    proposer = Proposer(OBJECTIVES, told, LAYERS, evals=40, seed=seed, started=len(UNITS))
    candidates = list(islice(proposer.candidates(trials(toy), UNITS.tolist(), [], len(UNITS)), 10))
    assert {source for source, _ in candidates} == {"model"}
    measured = [toy.measure(MergePolicy(toy.space.thresholds(unit))).values for _, unit in candidates]
    return sum(all(limit.met(values[limit.objective.name]) for limit in limits) for values in measured) / 10


@pytest.mark.parametrize("seed", range(3))
def test_constraints_are_told_to_the_acquisition(seed):
    """Of something that is no objective and speaks against both, so that nothing else makes the search keep it."""
    limits = bounds(["leakage=0.5"], [])
    assert kept(limits, (), seed) <= 0.5
    assert kept(limits, limits, seed) >= 0.8


def test_a_search_begins_with_the_ends_and_equal_parts_and_then_differs_by_seed():
    def begun(seed: int) -> list[list[float]]:
        proposer = Proposer(OBJECTIVES, (), 6, evals=64, seed=seed)
        drawn = [next(proposer.candidates([], [], [], number)) for number in range(proposer.start)]
        assert {source for source, _ in drawn} == {"start"}
        return [unit for _, unit in drawn]

    one, other = begun(0), begun(1)
    assert len(one) == 10 and one[:6] == [pytest.approx([u] * 6) for u in (0, 1, 0.2, 0.4, 0.6, 0.8)]
    assert one[:6] == other[:6] and all(a != b for a, b in zip(one[6:], other[6:], strict=True))
    assert Proposer(OBJECTIVES, (), 6, evals=9).start == 3, "a third of few evaluations"


def outlier(noise: float) -> tuple[float, float]:
    """What the model believes of a policy that was measured with an error, and what was measured."""
    known = trials(Toy())
    wrong = known[7]
    known[7] = Trial(
        7, wrong.thresholds, "start", "7", {**wrong.values, "accuracy": 0.2}, {**wrong.noise, "accuracy": noise}
    )
    surrogate = Surrogate.fit(OBJECTIVES, [t for t in known if t.number != 7], UNITS[[i != 7 for i in range(24)]])
    model = surrogate.on(known, UNITS, UNITS[:0])
    with torch.no_grad():
        return float(surrogate.values(model.posterior(UNITS[7:8]).mean)[0, 0]), wrong.values["accuracy"]


def test_noise_is_told_to_the_model():
    believed, true = outlier(noise=0.05)
    assert believed == pytest.approx(true, abs=0.05), "an uncertain number is not believed against its neighbours"
    believed, _ = outlier(noise=1e-8)
    assert believed == pytest.approx(0.2, abs=0.05), "a certain one is"


@pytest.mark.parametrize("seed", range(2))
def test_doubt_about_what_it_has_is_no_hope_for_more(seed):
    """Policies of the front gain nothing when they are evaluated again, however noisy their numbers are."""
    proposer = Proposer(OBJECTIVES, (), LAYERS, evals=40, seed=seed, started=len(UNITS))
    known = trials(Toy())
    luck = 0.05 * torch.randn(len(known), generator=torch.Generator().manual_seed(seed))
    for number, (trial, error) in enumerate(zip(known, luck.tolist(), strict=True)):
        values = {**trial.values, "accuracy": min(trial.values["accuracy"] + error, 0.99)}
        known[number] = replace(trial, values=values, noise={**trial.noise, "accuracy": 0.05**2})
    surrogate = Surrogate.fit(OBJECTIVES, known, UNITS)
    model = surrogate.on(known, UNITS, UNITS[:0])
    gain, front = proposer._acquisition(surrogate, model, known, UNITS, len(known))
    others = SobolEngine(LAYERS, scramble=True, seed=99).draw(64).double()
    with torch.no_grad():
        again, new = gain(front[:, None]).exp(), gain(others[:, None]).exp()
    assert len(front) > 3 and again.max() < 0.01 * new.max()


def test_a_resumed_search_proposes_the_same_where_a_fit_draws(monkeypatch):
    """As one does that begins again elsewhere; the resumed search fits for another policy than the whole one did."""
    fit = Surrogate.fit

    def drawing(*told: Any) -> Surrogate:
        made = fit(*told)
        return replace(made, mean=made.mean + 0.1 * torch.rand(len(made.mean)))

    monkeypatch.setattr(Surrogate, "fit", drawing)
    known, units = trials(Toy()), UNITS.tolist()
    whole, resumed = (Proposer(OBJECTIVES, (), LAYERS, evals=40, started=10) for _ in range(2))
    next(whole.candidates(known[:-1], units[:-1], [], len(units) - 1))
    one, other = (next(each.candidates(known, units, [], len(units))) for each in (whole, resumed))
    assert one == other and one[0] == "model"


def test_luck_is_not_believed_and_certain_numbers_are_kept():
    known = trials(Toy())
    quiet = {"accuracy": 4e-4, "tokens": 0.0}
    luck = 0.02 * torch.randn(24, generator=torch.Generator().manual_seed(1)).double()
    noisy = [
        Trial(t.number, t.thresholds, "start", t.effect, {**t.values, "accuracy": t.values["accuracy"] + e}, quiet)
        for t, e in zip(known, luck.tolist(), strict=True)
    ]
    failed = Trial(24, (1.0,) * LAYERS, "start", "24", failure="nothing works here")
    proposer = Proposer(OBJECTIVES, (), LAYERS, evals=40, started=len(UNITS))
    believed = proposer.believed([*noisy, failed], [*UNITS.tolist(), [0.0] * LAYERS])
    assert believed.keys() == {t.name for t in known} and {*next(iter(believed.values()))} == {"accuracy"}
    errors = torch.tensor([believed[t.name]["accuracy"] - t.values["accuracy"] for t in known])
    assert errors.square().mean() < 0.5 * luck.square().mean()
    assert proposer.believed(known[:2], UNITS[:2].tolist()) == {}
    assert believed == proposer.believed([*noisy, failed], [*UNITS.tolist(), [0.0] * LAYERS])


def test_a_number_without_noise_stays_what_it_is_beside_noisy_ones():
    """As FLOPs of the unmerged victim: they do not depend on the pictures, and those of other policies do."""
    known = trials(Toy(), noise=1e-2)
    known[5] = replace(known[5], noise={**known[5].noise, "tokens": 0.0})
    believed = Proposer(OBJECTIVES, (), LAYERS, evals=40, started=len(UNITS)).believed(known, UNITS.tolist())
    assert {*believed[known[5].name]} == {"accuracy"}
    assert all({*believed[t.name]} == {"accuracy", "tokens"} for t in known if t is not known[5])


def test_noise_is_told_in_the_units_of_the_model():
    known = trials(Toy(), noise=1e-3)
    surrogate = Surrogate.fit(OBJECTIVES, known, UNITS)
    model = surrogate.on(known, UNITS, UNITS[:0])
    told = model.likelihood.noise * surrogate.deviation.square()[:, None]
    for row, objective in enumerate(OBJECTIVES):
        slopes = objective.scale.slope(torch.tensor([t.values[objective.name] for t in known]).double())
        expected = (1e-3 * slopes.square()).clamp_min(1e-5 * float(surrogate.deviation[row]) ** 2)
        assert torch.allclose(told[row], expected.double(), rtol=1e-3)


def test_a_limit_is_kept_by_the_very_value():
    low, high = bounds(["accuracy=0.9"], ["tokens=20"])
    assert low.met(0.9) and high.met(20.0) and not low.met(0.9 - 1e-9) and not high.met(20 + 1e-9)
