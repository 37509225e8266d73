"""The evaluator is right about every planted system, and the self-check says so when it is not."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import attacks
import audit.evaluate
import audit.selfcheck
from atm.signals import ImageSignal
from attacks.mean_image import MeanImage
from audit.planted import encoders, parts, pictures
from audit.planted.systems import NOISE, SYSTEMS, gaussian_least_error
from audit.selfcheck import SMALL, judge_system
from privacy_metrics.leakage import SSIM_BAR

BY_NAME = {system.name: system for system in SYSTEMS}


@pytest.mark.slow
@pytest.mark.timeout(3600)  # dozens of runs
def test_every_planted_system_is_judged_rightly(atm):
    code, out, err = atm("selfcheck", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    wrong = [row for row in rows if row["verdict"] != row["expected"]]
    assert wrong == [] and code == 0 and "error" not in err
    assert len(rows) == len({row["system"] for row in rows}) >= 30
    words = {"beats the bound", "leaks", "leaks in part", "no leak found", "inconclusive", "refused"}
    assert {row["expected"] for row in rows} == words


def test_a_wrong_verdict_ends_in_exit_code_1(atm, monkeypatch):
    wrong = replace(BY_NAME["identity encoder"], expected="no leak found")
    monkeypatch.setattr(audit.selfcheck, "SYSTEMS", (wrong, BY_NAME["victims among the auxiliary images"]))
    code, out, _ = atm("selfcheck")
    assert code == 1 and "right about 1 of 2 systems" in out


def verdict(name):
    return judge_system(BY_NAME[name], SMALL, 0).verdict


@pytest.mark.parametrize("name", ["attack cut by its time budget", "attack that learns from mixed-up pairs"])
def test_an_evaluator_without_flags_is_caught(monkeypatch, name):
    monkeypatch.setattr("reports.verdict.raised", lambda case: ())
    assert verdict(name) != BY_NAME[name].expected


def test_an_evaluator_that_accepts_overlap_is_caught(monkeypatch):
    monkeypatch.setattr(audit.evaluate, "_refuse_overlap", lambda data, noun: None)
    assert verdict("victims among the auxiliary images") != "refused"


def test_an_evaluator_that_counts_plain_pictures_as_leaks_is_caught(monkeypatch):
    monkeypatch.setattr(ImageSignal, "bar", replace(SSIM_BAR, owed=-1.0))
    assert verdict("constant tokens") != "no leak found"


def test_an_attack_that_beats_the_bound_is_caught(monkeypatch):
    """A cheat that knows the pictures: nothing honest gets below the error of the conditional mean."""

    class Cheat(MeanImage):
        name = "ridge"

        def reconstruct(self, seen):
            return pictures.gaussian(SMALL.images, SMALL.auxiliary, 0).victims.images * 0.9 + 0.05

    monkeypatch.setattr(parts, "create", lambda name: Cheat() if name == "ridge" else attacks.create(name))
    assert verdict("sound defence with a known bound") == "beats the bound"


def test_the_bound_is_that_of_the_conditional_mean():
    """Brute force: the error of the posterior mean over many drawn patches."""
    random = np.random.default_rng(0)
    covariance = np.diag(pictures.DEVIATIONS.numpy().astype(float) ** 2)
    x = random.multivariate_normal(np.zeros(len(covariance)), covariance, 20000)
    y = x + NOISE * random.normal(size=x.shape)
    gain = covariance @ np.linalg.inv(covariance + NOISE**2 * np.eye(len(covariance)))
    assert ((y @ gain.T - x) ** 2).mean() == pytest.approx(gaussian_least_error(NOISE), rel=0.02)


def test_the_planted_tokens_hold_what_they_are_said_to_hold():
    images = pictures.photographs(20, 40, 0).victims.images
    labels = encoders.label(images)
    assert len(labels.unique()) > 1
    assert torch.equal(encoders.count_only(images).lengths, 16 * (labels + 1))
    assert len(encoders.count_only(images).values.unique()) == 1
    hidden = encoders.permuted(images).per_patch()
    shown = encoders.identity(images).per_patch()
    assert not torch.equal(hidden, shown) and torch.equal(hidden.sort(1).values, shown.sort(1).values)
    some = pictures.marked(9)(100, 100, 0).victims.images
    shown = encoders.shown(0.8)(some).per_patch().abs().sum(2) > 0
    assert int(shown.any(1).sum()) == 9 and int(shown.sum(1).max()) <= 52 < 0.82 * encoders.PATCHES


def test_what_stands_in_neighbours_tokens_is_a_leak_that_ridge_alone_misses():
    system = BY_NAME["patches in their neighbours' tokens"]
    assert judge_system(system, SMALL, 0).verdict == "leaks"
    assert judge_system(replace(system, attacks=("ridge",)), SMALL, 0).verdict != "leaks"


def test_who_is_on_both_sides_is_a_leak_and_who_is_on_one_is_not():
    """Of one seed here; ``atm selfcheck --null`` counts alarms over many."""
    shared, apart = "person alone, of whom the adversary has pictures", "person alone, kept on one side"
    assert (verdict(shared), verdict(apart)) == ("leaks", "no leak found")


def test_no_person_is_on_both_sides_where_people_are_kept_apart():
    for by, common in ((None, True), ("folder", False)):
        found = pictures.persons(by)(100, 400, 0)
        theirs, hers = ((255 * part.images[:, 0, 0, 0]).round().unique() for part in (found.victims, found.auxiliary))
        assert bool(torch.isin(theirs, hers).any()) == common and len(theirs) > 10
