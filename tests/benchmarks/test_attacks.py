"""The table of attacks beside their peers says what its rows say."""

from __future__ import annotations

import pytest

from atm.errors import AtmError
from audit.setting import AttackConfig
from benchmarks import attacks
from benchmarks.peers import InversionNetwork
from tests.audit.conftest import pictures, victim  # noqa: F401


def row(attack, psnr, peer=False, policy="none"):
    about = {"victim": "v", "threat": "server", "policy": policy, "attack": attack, "peer": peer}
    return {**about, "seconds": 1.0, "psnr": psnr, "ssim": 0.5, "lpips": 0.25}


def test_leads_are_over_the_best_peer_of_the_same_policy():
    rows = [
        row("ridge", 18.0),
        row("decoder", 20.0),
        row("standard", 21.5),
        row("good", 19.0, True),
        row("bad", 12.0, True),
        row("standard", 15.0, policy="moderate"),
        row("ridge", 14.0, policy="moderate"),
        row("bad", 16.0, True, policy="moderate"),
    ]
    lines = attacks.table(rows).splitlines()
    assert "| v | server | none | good (peer) | 1 | 19.00 | 0.500 | 0.250 |" in lines
    assert lines[-2:] == [
        "| v | server | none | good | +2.50 | +1.00 |",
        "| v | server | moderate | bad | -1.00 | -2.00 |",
    ]


def test_without_a_peer_there_is_no_lead():
    assert attacks.table([row("ridge", 18.0), row("standard", 18.0)]).splitlines()[-1].startswith("| ---")


def test_rows_have_all_fields_and_the_suite_is_its_best_per_image(victim, pictures, monkeypatch):  # noqa: F811
    monkeypatch.setattr(attacks, "PEERS", {"inversion-network": InversionNetwork})
    config = AttackConfig(
        policies=("none",), attacks=("ridge",), victim=str(victim), data=str(pictures), images=4, auxiliary=60
    )
    rows = list(attacks.rows_of(AttackConfig(**{**vars(config), "budget": 2.0, "quick": True})))
    fields = {"victim", "threat", "policy", "attack", "peer", "seconds", "psnr", "ssim", "lpips"}
    assert all(set(r) == fields for r in rows)
    by_name = {r["attack"]: r for r in rows}
    ours = [r for r in rows if not r["peer"] and r["attack"] != attacks.SUITE]
    assert [r["attack"] for r in rows if r["peer"]] == ["inversion-network"]
    assert by_name[attacks.SUITE]["psnr"] >= max(r["psnr"] for r in ours) - 1e-6
    assert by_name[attacks.SUITE]["seconds"] == pytest.approx(sum(r["seconds"] for r in ours))


def test_the_overview_has_a_column_for_each_threat_and_policy_and_leaves_gaps_blank():
    rows = [row("ridge", 18.0), row("standard", 21.5), row("good", 19.0, True), row("ridge", 14.0, policy="moderate")]
    assert attacks.overview(rows).splitlines() == [
        "| v | server, none | server, moderate |",
        "| --- | ---: | ---: |",
        "| ridge | .500 | .500 |",
        "| good (peer) | .500 |  |",
        "| standard | .500 |  |",
    ]


def run(monkeypatch, *arguments):
    """The victims, their data and the threat models that a call of the command measures, in order."""
    asked = []

    def rows_of(config, peers, suite):
        asked.append((config.victim, config.data, config.threat))
        yield row("ridge", 18.0)

    monkeypatch.setattr(attacks, "rows_of", rows_of)
    monkeypatch.setattr("sys.argv", ["benchmarks.attacks", "--json", *arguments])
    attacks.main()
    return asked


def test_one_call_measures_every_victim_on_its_own_data_under_every_threat_model(monkeypatch):
    asked = run(monkeypatch, "--victim", "a", "b", "--data", "x", "y", "--threat", "server", "black-box")
    assert asked == [("a", "x", "server"), ("a", "x", "black-box"), ("b", "y", "server"), ("b", "y", "black-box")]


def test_a_victim_without_data_is_refused(monkeypatch):
    with pytest.raises(AtmError, match="--victim names 2 and --data 1: give a --data for each"):
        run(monkeypatch, "--victim", "a", "b", "--data", "x")
