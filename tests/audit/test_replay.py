"""A run that a time budget cut comes out again: its numbers of steps are kept, and no clock is looked at."""

from __future__ import annotations

import pytest

from attacks import budget
from reports.run import Run

STEPS = "steps.jsonl"


def ask(victim, pictures, out, *more):
    return (
        "attack", "--victim", victim, "--data", pictures, "--images", 4, "--auxiliary", 40, "--policy", "uniform-0.5",
        "--attack", "ridge", "--attack", "decoder", "--out", out, *more,
    )  # fmt: skip


@pytest.fixture
def cut(atm, victim, pictures, tmp_path):
    assert atm(*ask(victim, pictures, tmp_path / "cut", "--budget", 0.0001))[0] == 0
    return tmp_path / "cut"


def test_a_run_is_replayed_to_the_last_digit_without_a_clock(atm, victim, pictures, tmp_path, cut, monkeypatch):
    monkeypatch.setattr(budget, "_seconds", lambda trial: pytest.fail("a replay asked how long a step takes"))
    assert atm(*ask(victim, pictures, tmp_path / "again", "--replay", cut))[0] == 0
    assert atm(*ask(victim, pictures, tmp_path / "unlimited", "--replay", tmp_path / "again", "--budget", 0))[0] == 0
    assert atm(*ask(victim, pictures, tmp_path / "whole", "--budget", 0))[0] == 0
    scores = {name: (tmp_path / name / "scores.csv").read_bytes() for name in ("cut", "again", "unlimited", "whole")}
    assert scores["cut"] == scores["again"] == scores["unlimited"]
    steps = {name: len(Run.read(tmp_path / name).history[0]["train"]) for name in scores}
    assert steps["cut"] == steps["again"] == steps["unlimited"] < steps["whole"]
    assert (cut / STEPS).read_bytes() == (tmp_path / "again" / STEPS).read_bytes()
    assert not (tmp_path / "whole" / STEPS).exists(), "without a budget there is nothing to choose"
    assert [Run.read(tmp_path / name).history[0]["cut"] for name in ("cut", "again", "whole")] == [True, True, False]


def test_the_command_that_a_report_shows_replays_too(atm, victim, pictures, tmp_path, cut):
    assert atm(*ask(victim, pictures, tmp_path / "again", "--replay", cut))[0] == 0
    assert f"--replay {cut}" in Run.read(tmp_path / "again").about["command"]


def test_what_is_no_run_is_not_replayed_and_nothing_is_written(atm, victim, pictures, tmp_path):
    code, _, err = atm(*ask(victim, pictures, tmp_path / "run", "--replay", tmp_path / "nowhere"))
    assert code == 2 and "nowhere" in err and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()
