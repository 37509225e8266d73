"""Bounds of real links: the Jacobian through merging, and the table beside the attacks."""

from __future__ import annotations

import math

import pandas as pd
import pytest
import torch

from atm.channels import Awgn, Noiseless
from atm.link import Link
from atm.policy import MergePolicy
from atm.store import RunStore
from atm.threat import ThreatModel
from audit.bounds import NUMBERS, SOURCES, bounds, image_dfil, noise_variance, sources, symbol_information
from reports.bounds import add_bounds, brackets
from reports.run import LINK, SCORE, Run
from tests.atm.models import tiny_encoder
from tests.attacks.planted import pictures


def link(threshold: float = 0.5, channel=None) -> Link:
    return Link(tiny_encoder(), MergePolicy.uniform(threshold, 3), channel=channel or Awgn(10.0))


@pytest.mark.parametrize("at_once", [1, 10_000])
def test_dfil_is_that_of_the_full_jacobian_through_merging_and_codec(at_once, monkeypatch):
    monkeypatch.setattr("audit.bounds.TOKENS_AT_ONCE", at_once)
    system, images, variance = link(), pictures(2), 0.05
    assert system.transmit(images).sent.counts != [17, 17], "something must merge"
    estimate = image_dfil(system, images, variance, probes=300)
    for image, value in zip(images, estimate, strict=True):
        jacobian = torch.autograd.functional.jacobian(
            lambda x: torch.view_as_real(system.send(x[None])[1]).flatten(), image
        )
        exact = float(jacobian.double().square().sum()) / (image.numel() * variance)
        assert float(value) == pytest.approx(exact, rel=0.15)


def test_as_many_sources_as_memory_has_room_for():
    small = link()
    each = 17 * 2 * small.codec.symbols_per_token
    assert sources(small) == min(SOURCES, int(NUMBERS // each))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("audit.bounds.NUMBERS", 40.5 * each)
        assert sources(small) == 40


def test_noise_is_that_of_the_tap():
    system = link(channel=Awgn(10.0))
    assert noise_variance(system, ThreatModel("server")) == pytest.approx(0.05)
    assert noise_variance(system, ThreatModel("eve", "eavesdropper", channel="awgn:0")) == pytest.approx(0.5)
    assert noise_variance(link(channel=Noiseless()), ThreatModel("server")) is None


def test_more_noise_raises_every_bound_and_no_noise_gives_none():
    images = pictures(250)
    values: dict[float, dict[str, float]] = {}
    for snr in (-10.0, 10.0):
        rows = bounds(link(channel=Awgn(snr)), ThreatModel("server"), images[:50], images)
        values[snr] = dict(zip(rows.bound, rows.value, strict=True))
    for name in ("unbiased", "any attacker", "entropy"):
        assert 0 < values[10.0][name] < values[-10.0][name]
    none = bounds(link(channel=Noiseless()), ThreatModel("server"), images[:50], images)
    assert none.value.isna().all() and list(none.bound) == list(rows.bound)


def test_too_few_pictures_give_a_reason_and_no_number():
    images = pictures(60)
    few = bounds(link(), ThreatModel("server"), images[:49], images)
    assert few.value.isna().all() and few.note.str.contains("needs 50 attacked pictures, not 49").all()
    prior = bounds(link(), ThreatModel("server"), images[:50], images[:19])
    assert prior.value.notna().tolist() == [True, False, False]
    assert prior.note[1:].str.contains("patches of 19 pictures are too few").all()


def test_what_rests_on_gaussian_pictures_is_called_no_guarantee():
    images = pictures(250)
    rows = bounds(link(), ThreatModel("server"), images[:50], images)
    assert rows.note[1:].str.contains("no guarantee").all() and rows.note.str.contains("95% confidence").all()


def test_the_bound_of_unbiased_attackers_is_below_that_of_their_exact_leakage():
    system, images = link(), pictures(50)
    exact = image_dfil(system, images, 0.05, probes=200)
    rows = bounds(system, ThreatModel("server"), images, images)
    assert 0.3 / float(exact.mean()) < rows.value[0] < 1 / float(exact.mean())


def test_errors_and_not_decibels_are_averaged_over_repeats(tmp_path):
    """One picture rebuilt with errors of 1e-2 and 1e-4: 5.05e-3 on average, and 1e-3 is that of 30 dB."""
    scores = pd.DataFrame(
        [["none", "ridge", 0, "psnr", value, repeat] for repeat, value in enumerate([20.0, 40.0])], columns=list(SCORE)
    )
    about = {"policies": [{"name": "none"}], "attacks": ["ridge"]}
    with RunStore(tmp_path / "run", "attack", {}) as store:
        store.begin({**about, "config": {}})
        add_bounds(store, "none", pd.DataFrame([{"bound": "unbiased", "value": 1e-4, "note": ""}]))
    (line,) = brackets(Run(tmp_path / "run", about, scores, pd.DataFrame(columns=list(LINK))))
    assert line.error == pytest.approx(5.05e-3)


def test_fewer_tokens_carry_less_information():
    images = pictures(60)
    assert symbol_information(link(0.3), images, 0.05) < symbol_information(link(1.0), images, 0.05)


def test_a_run_has_its_bounds_beside_the_attacks_and_not_in_the_scores(atm, victim, pictures, tmp_path):
    words = ("attack", "--victim", victim, "--data", pictures, "--images", 50, "--auxiliary", 60, "--attack", "ridge",
             "--policy", "none", "--policy", "uniform-0.5", "--channel", "awgn:0", "--out",
             tmp_path / "run")  # fmt: skip
    assert atm(*words)[0] == 0
    table = pd.read_csv(tmp_path / "run/bounds.csv", keep_default_na=False, na_values=[""])
    assert list(table.columns) == ["policy", "bound", "value", "note"] and len(table) == 6
    unbiased = table.bound == "unbiased"
    assert (table.value[unbiased] > 0).all() and all(math.isfinite(v) for v in table.value[unbiased])
    assert table.value[~unbiased].isna().all() and table.note[~unbiased].str.contains("too few").all()
    scores = pd.read_csv(tmp_path / "run/scores.csv", keep_default_na=False)
    assert not set(scores.metric) & set(table.bound)
    assert "What noise would bound" in (tmp_path / "run/report.html").read_text()
    before = (tmp_path / "run/bounds.csv").read_bytes()
    assert atm(*words, "--resume")[0] == 0
    assert (tmp_path / "run/bounds.csv").read_bytes() == before
