"""What is expected of the full suite in policies that it did not attack."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.quasirandom import SobolEngine

from audit.pareto.fidelity import FEWEST, expected
from audit.pareto.outcome import Outcome
from audit.pareto.pick import _held_against, pick_policy
from audit.pareto.recommendation import recommended
from audit.pareto.report import export, lasting, render
from audit.pareto.run import foretold, open_folder, representatives, rescored
from audit.pareto.space import Space
from audit.pareto.trials import Trial
from tests.audit.pareto.toy import CONFIG, run

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


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search of which the suite attacked four policies, and found 0.2 more than the score in each."""
    folder = tmp_path_factory.mktemp("search") / "s"
    run(folder, say=lambda line: None)
    outcome = Outcome.read(folder)
    front = outcome.front
    chosen = [front[round(part * (len(front) - 1))] for part in (0, 0.3, 0.6, 1)]
    full = {t.name: tuple(t.values["leakage"] + 0.2 + off for off in (0, -0.02, 0.02)) for t in chosen}
    with open_folder(folder, CONFIG, True, False) as store:
        store.update(full=full)
        foretold(replace(outcome, full=full), store, Space.plain(len(front[0].thresholds), 0.0))
    return folder


def test_it_is_kept_and_shown_beside_what_was_attacked(searched):
    outcome = Outcome.read(searched)
    assert outcome.expected.keys() == {trial.name for trial in outcome.trials} - outcome.full.keys()
    off = [outcome.expected[t.name][0] - t.values["leakage"] for t in outcome.trials if t.name in outcome.expected]
    assert sum(off) / len(off) == pytest.approx(0.2, abs=0.03)
    shown = {row[0].split()[0]: row[-2] for row in export(outcome).rows}
    for trial in outcome.front:
        assert shown[trial.name].startswith("expected ") == (trial.name in outcome.expected)
    table = outcome.table().set_index("policy")
    for name, ends in outcome.expected.items():
        assert table.loc[name, "leakage_expected"] == ends[0] and table.loc[name, "leakage_expected_high"] == ends[2]
    page = render(outcome)
    assert all(shown[trial.name] in page for trial in outcome.front) and "not run" not in page
    assert export(outcome).content["full_suite_expected"].keys() == outcome.expected.keys()


def test_a_bound_on_leakage_is_held_against_the_suite_and_the_upper_end_of_what_is_expected_of_it(searched):
    outcome = Outcome.read(searched)
    limit = sorted(outcome.cautious(trial)["leakage"] for trial in outcome.front)[len(outcome.front) // 2] + 1e-6
    by_score = [trial for trial in outcome.trials if trial.values["leakage"] <= limit]
    picked = pick_policy(searched, at_most=[f"leakage={limit}"], maximize="accuracy")
    strict = outcome.full.get(picked.trial.name, (0, 0, outcome.expected.get(picked.trial.name, (0, 0, 0))[2]))
    assert (strict[0] or strict[2]) <= limit
    assert picked.trial != max(by_score, key=lambda trial: trial.values["accuracy"]), "which the score alone allows"
    assert any("keeps its bound" in note for note in picked.notes) and picked.values["leakage"] in (
        outcome.full.get(picked.trial.name, outcome.expected.get(picked.trial.name))[0],
    )
    attacked = next(trial for trial in outcome.front if trial.name in outcome.full)
    foretold = next(trial for trial in outcome.front if trial.name in outcome.expected)
    estimate, _, high = outcome.expected[foretold.name]
    assert _held_against(outcome, foretold) == (estimate, _held_against(outcome, foretold)[1])
    assert f"leakage {estimate:.3f}, at most {high:.3f}" in _held_against(outcome, foretold)[1]
    assert "by the full suite: that estimate" in _held_against(outcome, attacked)[1]
    bounded = replace(outcome, config=replace(outcome.config, at_most=(f"leakage={limit}",)))
    assert bounded.lasting and all(bounded.cautious(trial)["leakage"] <= limit for trial in bounded.lasting)
    assert {r.trial.number for r in recommended(bounded)} <= {trial.number for trial in bounded.lasting}
    there = replace(bounded, again={t.name: dict(t.values) for t in bounded.front}, again_images=50)
    assert len(there.lasting) < len(there.front) and lasting(there).startswith(f"{len(there.front)} of")
    none = replace(outcome, config=replace(outcome.config, at_most=("leakage=0.5",)))
    assert none.front and not none.lasting
    assert any("by the full suite: none is recommended" in line for line in none.warnings)


def test_a_search_that_goes_on_attacks_the_same_policies_whatever_the_suite_found(searched):
    outcome = Outcome.read(searched)
    front = sorted(outcome.front, key=lambda trial: trial.values["leakage"])
    limit = f"leakage={front[len(front) // 2].values['leakage']}"
    before = replace(outcome, config=replace(outcome.config, at_most=(limit,)), full={}, expected={})
    chosen = representatives(before, 3)
    refuted = replace(before, full={trial.name: (0.99, 0.98, 1.0) for trial in chosen})
    assert before.lasting != refuted.lasting and representatives(refuted, 3) == chosen
    said = recommended(refuted)
    assert said and all("the full suite did not attack it" in each.reason for each in said)
    assert not any("did not attack it" in each.reason for each in recommended(before))


def test_what_is_expected_is_no_softer_than_the_score(searched):
    outcome = Outcome.read(searched)
    low = replace(outcome, expected=dict.fromkeys(outcome.expected, (0.0, 0.0, 0.01)))
    trials = [trial for trial in outcome.trials if trial.name in low.expected]
    assert trials and all(low.cautious(trial) == low.known(trial) for trial in trials)


def test_without_the_suite_a_bound_says_that_the_score_is_below_it(searched):
    with open_folder(searched, CONFIG, True, False) as store:
        before = dict(store.about)
        store.update(full={}, expected={})
    picked = pick_policy(searched, at_most=["leakage=0.9"], maximize="accuracy")
    assert any("held against the ridge score, which lies below" in note for note in picked.notes)
    with open_folder(searched, CONFIG, True, False) as store:
        store.update(full=before["full"], expected=before["expected"])


def test_what_the_suite_found_before_it_has_found(searched, monkeypatch):
    """A search that goes on attacks other policies, and what was refuted is not merely expected again."""
    outcome = Outcome.read(searched)
    other = next(trial for trial in outcome.front if trial.name in outcome.expected)
    interval = SimpleNamespace(estimate=0.7, low=0.6, high=0.8)
    monkeypatch.setattr("audit.pareto.run.attack", lambda *_, **__: None)
    monkeypatch.setattr("audit.pareto.run.verdicts", lambda run: [SimpleNamespace(policy=other.name, leakage=interval)])
    with open_folder(searched, CONFIG, True, False) as store:
        found = rescored(outcome, store, 1, lambda line: None)
        assert found.full == {**outcome.full, other.name: (0.7, 0.6, 0.8)} and len(outcome.full) == 4
        assert Outcome.read(searched).full == found.full
        store.update(full=outcome.full)
