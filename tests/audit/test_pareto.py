"""The search: honest fronts, and nothing lost when it is killed."""

from __future__ import annotations

import json

import pandas as pd
import pytest

import audit.pareto
from atm.policy import load
from audit.pareto import OBJECTIVES
from tests.audit.conftest import parse


def ask(victim, pictures, out, evals=9):
    return (
        "search", "--victim", victim, "--data", pictures, "--images", 8, "--auxiliary", 60,
        "--evals", evals, "--out", out
    )  # fmt: skip


def trials(folder):
    return [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]


def test_the_front_is_not_dominated_and_its_policies_can_be_used(atm, victim, pictures, tmp_path):
    code, out, _ = atm(*ask(victim, pictures, tmp_path / "s"), "--json")
    assert code == 0
    front = parse(out)["front"]
    rows = trials(tmp_path / "s")
    assert len(rows) == 9 and rows[0]["thresholds"] == [1.0] * 3
    for a in front:
        for b in rows:
            gains = [sign * (b[name] - a[name]) for name, sign in OBJECTIVES.items()]
            assert not (min(gains) >= 0 and max(gains) > 0), "a front must not be dominated"
    assert len(pd.read_csv(tmp_path / "s/front.csv")) == len(front)
    policy = load(str(tmp_path / "s" / f"trial-{front[0]['trial']:04d}.yaml"), 3)
    assert list(policy.thresholds) == front[0]["thresholds"]


@pytest.mark.parametrize("kill_at", [1, 5, 8])
def test_a_killed_search_goes_on_as_if_nothing_had_happened(atm, victim, pictures, tmp_path, monkeypatch, kill_at):
    assert atm(*ask(victim, pictures, tmp_path / "whole"))[0] == 0
    measured, original = [], audit.pareto.measure

    def measure(setting, policy):
        measured.append(policy.name)
        if len(measured) == kill_at + 1:
            raise KeyboardInterrupt
        return original(setting, policy)

    monkeypatch.setattr(audit.pareto, "measure", measure)
    assert atm(*ask(victim, pictures, tmp_path / "killed"))[0] == 130
    with open(tmp_path / "killed/trials.jsonl", "a") as file:
        file.write('{"trial": 99, "thresh')  # torn by a kill in mid-write
    assert atm(*ask(victim, pictures, tmp_path / "killed"), "--resume")[0] == 0
    assert len(measured) == 10
    assert trials(tmp_path / "killed") == trials(tmp_path / "whole")


def test_a_search_can_be_prolonged_but_not_changed(atm, victim, pictures, tmp_path):
    assert atm(*ask(victim, pictures, tmp_path / "s", 2))[0] == 0
    assert atm(*ask(victim, pictures, tmp_path / "s", 3))[0] == 2
    assert atm(*ask(victim, pictures, tmp_path / "s", 3), "--resume")[0] == 0
    assert len(trials(tmp_path / "s")) == 3
    code, _, err = atm(*ask(victim, pictures, tmp_path / "s", 3), "--resume", "--seed", 5)
    assert code == 2 and "seed" in err
