"""The loop: nothing lost when it is killed, nothing evaluated twice, failures kept."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from atm.errors import AtmError
from audit.pareto.front import front
from audit.pareto.outcome import Outcome
from audit.pareto.price import prices
from audit.pareto.report import render
from audit.pareto.trials import Trial
from tests.audit.pareto.toy import CONFIG, Toy, run, with_twin


def written(folder: Path) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("search") / "whole"
    run(folder)
    return folder


@pytest.mark.slow
def test_a_search_killed_at_20_random_moments_ends_as_if_nothing_had_happened(whole, tmp_path):
    folder, moments = tmp_path / "killed", random.Random(7)
    deaths = [str(moments.randrange(5, 400)) for _ in range(20)]
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-m", "tests.audit.pareto.toy", str(folder), *deaths], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    progress = [int(number) for number in done.stdout.split()]
    assert len(progress) == 20 and progress[0] < CONFIG.evals, "kills came in mid-run"
    assert written(folder) == written(whole)
    assert Outcome.read(folder).volumes == Outcome.read(whole).volumes


class Cut(Toy):
    """Stops a search before an evaluation."""

    def measure(self, policy, number=0):
        if len(self.asked) == self.keep:
            raise KeyboardInterrupt
        return super().measure(policy, number)


@pytest.mark.parametrize("keep", [0, 1, 5, 12])
def test_a_search_cut_off_at_any_byte_goes_on(whole, tmp_path, keep):
    folder, problem, cut = tmp_path / "cut", Toy(), Cut()
    cut.keep = keep
    run(folder, cut)
    lines = (whole / "trials.jsonl").read_text().splitlines()
    with open(folder / "trials.jsonl", "a") as file:
        file.write(lines[keep][: len(lines[keep]) // 2])  # torn in mid-write
    run(folder, problem, resume=True)
    assert len(problem.asked) == CONFIG.evals - keep
    assert written(folder) == written(whole)


def test_reading_a_search_that_is_being_written_changes_nothing(whole, tmp_path):
    copy = shutil.copytree(whole, tmp_path / "copy")
    text = (copy / "trials.jsonl").read_text() + '{"number": 14, "thresh'
    (copy / "trials.jsonl").write_text(text)
    assert Outcome.read(copy).trials == Outcome.read(whole).trials
    assert (copy / "trials.jsonl").read_text() == text


def test_damage_before_the_last_line_is_named(whole, tmp_path):
    copy = shutil.copytree(whole, tmp_path / "copy")
    lines = (copy / "trials.jsonl").read_text().splitlines()
    (copy / "trials.jsonl").write_text("\n".join([lines[0], "{gone", *lines[2:]]) + "\n")
    with pytest.raises(AtmError, match=r"trials\.jsonl, line 2 is damaged"):
        Outcome.read(copy)


def test_an_evaluation_is_on_disk_before_the_next_begins(tmp_path):
    class Watching(Toy):
        def measure(self, policy, number=0):
            log = tmp_path / "s/trials.jsonl"
            seen.append(len(log.read_text().splitlines()) if log.exists() else 0)
            return super().measure(policy, number)

    seen: list[int] = []
    run(tmp_path / "s", Watching())
    assert seen == list(range(CONFIG.evals))


def test_failures_are_kept_with_their_reason_and_not_tried_again(tmp_path):
    problem = Toy(broken=(0.0, 0.3))
    found = run(tmp_path / "s", problem)
    assert len(found.trials) == CONFIG.evals == len({policy.thresholds for policy in problem.asked})
    assert found.failures and all("nothing works here" in trial.failure for trial in found.failures)
    assert any("nothing works here" in line for line in found.warnings)
    assert all(trial.failure is None for trial in found.front)


def test_nan_is_a_failure(tmp_path):
    class Nan(Toy):
        def measure(self, policy, number=0):
            good = super().measure(policy, number)
            return good if len(self.asked) > 1 else replace(good, values={**good.values, "leakage": float("nan")})

    found = run(tmp_path / "s", Nan())
    assert [trial.failure for trial in found.failures] == ["leakage is nan"]


def test_noise_that_is_nan_is_a_failure(tmp_path):
    class Nan(Toy):
        def measure(self, policy, number=0):
            good = super().measure(policy, number)
            return good if len(self.asked) > 1 else replace(good, noise={**good.noise, "leakage": float("nan")})

    found = run(tmp_path / "s", Nan())
    assert [trial.failure for trial in found.failures] == ["the noise of leakage is nan"]


def test_a_search_in_which_everything_fails_gives_up(tmp_path):
    with pytest.raises(AtmError, match="nothing works here"):
        run(tmp_path / "s", Toy(broken=(0.0, 1.0)))


def test_an_interrupt_ends_it_with_what_there_is_and_it_goes_on_from_there(whole, tmp_path):
    class Interrupted(Toy):
        def measure(self, policy, number=0):
            if len(self.asked) == 9:
                raise KeyboardInterrupt
            return super().measure(policy, number)

    stopped = run(tmp_path / "s", Interrupted())
    assert stopped.stopped and len(stopped.trials) == 9 and stopped.front
    resumed = run(tmp_path / "s", resume=True)
    assert not resumed.stopped and written(tmp_path / "s") == written(whole)


def test_policies_of_one_effect_are_evaluated_once(tmp_path):
    class Coarse(Toy):
        def effect(self, policy):
            return str([round(t * 2) for t in policy.thresholds])

    problem = Coarse()
    found = run(tmp_path / "s", problem, config=replace(CONFIG, evals=60))
    effects = [problem.effect(policy) for policy in problem.asked]
    assert len(effects) == len(set(effects)) <= 27
    assert any("no policy with a new effect" in note for note in found.notes)


def test_no_two_policies_are_near_duplicates(whole):
    trials = Outcome.read(whole).trials
    for i, a in enumerate(trials):
        for b in trials[:i]:
            assert max(abs(x - y) for x, y in zip(a.thresholds, b.thresholds, strict=True)) >= 0.01


def test_the_front_is_what_brute_force_says(whole):
    found = Outcome.read(whole)

    def dominates(a: Trial, b: Trial) -> bool:
        gains = [o.sign * (a.values[o.name] - b.values[o.name]) for o in found.objectives]
        return min(gains) >= 0 and max(gains) > 0

    expected = {b.number for b in found.trials if not any(dominates(a, b) for a in found.trials)}
    assert {trial.number for trial in found.front} == expected
    assert {t.number for t in front(found.trials, found.objectives)} == expected


def test_constraints_hold_on_the_front_and_steer_the_search(tmp_path):
    config = replace(CONFIG, evals=20, at_least=("accuracy=0.85",), at_most=("tokens=30",))
    found = run(tmp_path / "s", config=config)
    assert found.front
    assert all(t.values["accuracy"] >= 0.85 and t.values["tokens"] <= 30 for t in found.front)
    able = [t.values["accuracy"] >= 0.85 and t.values["tokens"] <= 30 for t in found.trials]
    chosen = [ok for ok, t in zip(able, found.trials, strict=True) if t.source == "model"]
    drawn = [ok for ok, t in zip(able, found.trials, strict=True) if t.source == "start"]
    assert sum(chosen) / len(chosen) > sum(drawn) / len(drawn)


def test_every_row_of_the_report_has_as_many_cells_as_its_heads(whole):
    outcome = with_twin(Outcome.read(whole))
    found = prices(outcome)
    assert any(p.minding is p.ignoring for p in found) and any(p.minding is not p.ignoring for p in found)
    page = re.sub(r"<script.*?</script>", "", render(outcome), flags=re.S)
    tables = re.findall(r"<table.*?>(.*?)</table>", page, re.S)
    assert len(tables) == 3 + bool(outcome.again)
    for table in tables:
        head, *rows = re.findall(r"<tr>(.*?)</tr>", table, re.S)
        assert rows and {row.count("<td") + row.count("<th ") for row in rows} == {head.count("<th ")}
