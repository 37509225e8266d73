"""Repeats: other seeds and channel draws each time, and resumable."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

import audit.evaluate
from attacks.session import Session
from reports.run import Run
from tests.audit.test_cli import FEW, ask


def test_every_repeat_draws_anew_and_the_first_is_the_run_without_repeats(atm, victim, pictures, tmp_path):
    assert atm(*ask(victim, pictures, tmp_path / "once"))[0] == 0
    assert atm(*ask(victim, pictures, tmp_path / "thrice"), "--repeats", 3)[0] == 0
    once, thrice = Run.read(tmp_path / "once"), Run.read(tmp_path / "thrice")
    assert thrice.finished and thrice.repeats == 3 and len(thrice.scores) == 3 * len(once.scores)
    ridge = thrice.repeated("none", "ridge", "ssim")
    assert torch.equal(ridge[0], once.values("none", "ridge", "ssim"))
    assert not torch.equal(ridge[0], ridge[1]) and not torch.equal(ridge[1], ridge[2])
    assert torch.equal(thrice.values("none", "ridge", "ssim"), ridge.mean(0))
    worst = torch.stack([thrice.repeated("none", a, "ssim") for a in thrice.attacks]).amax(0)
    assert torch.equal(thrice.worst_repeats("none"), worst) and torch.equal(thrice.worst_case("none"), worst.mean(0))
    assert len(thrice.per_image("none", "correct")) == 6 and len(thrice.link) == 3 * len(once.link)


def test_a_killed_repeat_goes_on_as_if_nothing_had_happened(atm, victim, pictures, tmp_path, monkeypatch):
    assert atm(*ask(victim, pictures, tmp_path / "whole"), "--repeats", 2)[0] == 0
    original, started = audit.evaluate._fitted, []

    def fitted(setting, session, name, budget):
        started.append(name)
        if len(started) == 7:
            raise KeyboardInterrupt
        return original(setting, session, name, budget)

    monkeypatch.setattr(audit.evaluate, "_fitted", fitted)
    assert atm(*ask(victim, pictures, tmp_path / "killed"), "--repeats", 2)[0] == 130
    cut = Run.read(tmp_path / "killed")
    assert not cut.finished and len(cut.worst_repeats("none")) == 1, "only whole repeats count"
    monkeypatch.setattr(audit.evaluate, "_fitted", original)
    assert atm(*ask(victim, pictures, tmp_path / "killed"), "--repeats", 2, "--resume")[0] == 0
    for table in ("scores.csv", "link.csv"):
        assert (tmp_path / "whole" / table).read_bytes() == (tmp_path / "killed" / table).read_bytes()


def test_what_one_session_kept_is_gone_when_the_next_begins(atm, victim, pictures, tmp_path, monkeypatch):
    made, alive = [], []

    def session(*args, **options):
        alive.append(sum(each() is not None for each in made))
        new = Session(*args, **options)
        made.append(weakref.ref(new))
        return new

    monkeypatch.setattr(audit.evaluate, "Session", session)
    gc.disable()  # which comes when it likes
    try:
        assert atm(*ask(victim, pictures, tmp_path / "run"), "--repeats", 3)[0] == 0
    finally:
        gc.enable()
    assert alive == [0] * 6


def test_the_history_of_trained_attacks_is_kept(atm, victim, pictures, tmp_path):
    words = [w for w in ask(victim, pictures, tmp_path / "run") if w not in FEW]
    few = ("--images", 4, "--auxiliary", 40, "--attack", "optimization", "--policy", "none")
    assert atm(*words, *few)[0] == 0
    (record,) = Run.read(tmp_path / "run").history
    assert (record["policy"], record["attack"], record["repeat"]) == ("none", "optimization", 0)
    assert len(record["train"]) == len(record["gradient"]) > 10 and not record["cut"]


@pytest.mark.parametrize("count", [0, -1])
def test_too_few_repeats_are_refused(atm, victim, pictures, tmp_path, count):
    code, _, err = atm(*ask(victim, pictures, tmp_path / "run"), "--repeats", count)
    assert code == 2 and "--repeats" in err
