"""A time budget ends what takes steps, keeps what it has, and is reported."""

from __future__ import annotations

import time

import torch
from attacks.shared import effort

import attacks.training
from atm.link import Link
from atm.policy import MergePolicy
from attacks.budget import spent, time_budget
from attacks.decoder import Decoder
from attacks.optimization import Optimization
from attacks.ridge import Ridge
from attacks.training import Schedule
from audit.evaluate import attack
from audit.setting import AttackConfig
from reports.verdict import verdicts
from tests.atm.models import tiny_encoder
from tests.attacks import planted
from tests.attacks.planted import PlantedLink, rotation
from tests.attacks.test_attacks import SERVER, rebuild
from tests.audit.conftest import pictures, victim  # noqa: F401


def test_an_inner_budget_never_outlasts_the_outer_one():
    assert not spent()
    with time_budget(0), time_budget(60):
        time.sleep(0.001)
        assert spent()
    assert not spent()


def test_a_decoder_without_time_is_as_good_as_where_it_starts():
    link, auxiliary, victims = (
        PlantedLink(lambda p: p @ rotation()),
        planted.pictures(300),
        planted.pictures(20, seed=1),
    )
    decoder = Decoder(schedule=Schedule(steps=10_000, patience=10_000))
    with time_budget(0):
        cut = rebuild(decoder, link, auxiliary, victims)
    start = rebuild(Ridge(), link, auxiliary, victims)
    assert decoder.history.cut and len(decoder.history.train) == 1
    assert float((cut - victims).square().mean()) <= 1.05 * float((start - victims).square().mean()) + 1e-5


def test_a_cut_run_has_every_attack_says_so_and_tells_where_the_time_went(victim, pictures, tmp_path):  # noqa: F811
    config = AttackConfig(
        ("none",), ("standard",), victim=str(victim), data=str(pictures), images=4, auxiliary=60, budget=0.01
    )
    with effort(True):
        run = attack(config, tmp_path / "run")
    assert {"ridge", "decoder", "optimization", "amortized"} <= set(run.attacks) == set(run.seconds.attack)
    assert (run.seconds[["fit", "reconstruct"]] >= 0).all(axis=None) and run.took("decoder") > 0
    flags = {flag.name: flag.found for flag in verdicts(run)[0].flags}
    assert "decoder" in flags["time budget cut"] and "part of the suite" not in flags


def test_descents_start_from_the_decoder_that_was_attacked_with(victim, pictures, tmp_path, monkeypatch):  # noqa: F811
    trained: list[str] = []
    for make in (attacks.decoder.Decoder, Optimization):
        monkeypatch.setattr(
            make, "QUICK", {"schedule": Schedule(steps=5)} if make is not Optimization else {"steps": 2}
        )
    monkeypatch.setattr(
        "attacks.decoder.train", lambda *given: trained.append(given[-1]) or attacks.training.train(*given)
    )
    names = ("decoder", "optimization")
    config = AttackConfig(("none", "uniform-0.5"), names, str(victim), data=str(pictures), images=4, auxiliary=60)
    with effort(True):
        run = attack(config, tmp_path / "run")
    assert set(names) <= set(run.attacks)
    assert trained == ["the decoder"] * 2, "once for each policy"


def test_the_command_of_a_run_without_a_limit_asks_for_none():
    """The command line has one unless told otherwise."""
    assert "--budget 0 " in AttackConfig().command("out") and "--budget 5.0 " in AttackConfig(budget=5.0).command("out")


def test_descent_ends_too():
    torch.manual_seed(0)
    link, found = Link(tiny_encoder(), MergePolicy.uniform(1.0, 3)), Optimization(steps=10_000)
    with effort(True):
        found.fit(link, SERVER, planted.pictures(60))
    with time_budget(0):
        rebuilt = found.reconstruct(SERVER.observe(link.transmit(planted.pictures(2, seed=1), 7), link, 8))
    assert found.history.cut and rebuilt.shape == (2, 3, 32, 32)
