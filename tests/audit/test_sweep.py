"""Sweeps: every point on disk, killed ones resumed, and what the numbers must do."""

from __future__ import annotations

import math

import pandas as pd
import pytest

import audit.sweep
from atm.encodings import Encodings
from atm.errors import AtmError
from atm.link import Link
from audit.suite import unblind
from audit.sweep import SweepConfig, grid, sweep
from tests.audit.conftest import parse


def ask(victim, pictures, out, *more):
    return (
        "sweep", "--victim", victim, "--data", pictures, "--images", 10, "--auxiliary", 50, "--snr", "0:20:20",
        "--channel", "awgn", "--channel", "rician,k=5", "--policy", "none", "--policy", "uniform-0.5", "--out", out,
        *more,
    )  # fmt: skip


def test_a_sweep_measures_every_point_and_draws_it(atm, victim, pictures, tmp_path):
    code, out, _ = atm(*ask(victim, pictures, tmp_path / "s", "--eavesdropper-snr=-10,20", "--json"))
    assert code == 0
    found = parse(out)
    table = pd.read_csv(tmp_path / "s/points.csv")
    assert len(table) == len(found["points"]) == 8 * (4 + 2 * 2)
    assert len((tmp_path / "s/points.jsonl").read_text().splitlines()) == 8
    assert ((table.low <= table.estimate) & (table.estimate <= table.high)).all() and (table.n == 10).all()
    leak = table[(table.policy == "none") & (table.channel == "awgn")]
    leak = leak.set_index(["quantity", "snr", "eavesdropper_snr"]).sort_index()
    assert leak.estimate["server", 20.0].item() > leak.estimate["server", 0.0].item()
    assert leak.estimate["eavesdropper", 20.0, 20.0] > leak.estimate["eavesdropper", 20.0, -10.0]
    assert leak.low["gap", 20.0, -10.0] > 0, "she hears far worse than the server"
    assert abs(leak.estimate["gap", 20.0, 20.0]) < 0.05, "she hears as well as the server"
    merged = table[table.quantity == "tokens"].groupby("policy").estimate.mean()
    assert merged["uniform-0.5"] < merged["none"]
    page = (tmp_path / "s/sweep.html").read_text()
    assert page.count("<svg") == 5 and "http" not in page.split("</style>")[1].replace("http://www.w3.org", "").replace(
        "http://purl.org", ""
    ).replace("http://creativecommons.org", "")
    assert len(found["findings"]) == 2 and "uniform-0.5" in found["findings"][0]


def test_what_goes_on_before_the_first_point_is_said(victim, pictures, tmp_path):
    named = {"victim": str(victim), "data": str(pictures), "head": "probe"}
    config = SweepConfig(**named, policies=("none", "uniform-0.5"), codecs=("uncoded", "auto"), snr=(5.0,), images=6,
                         auxiliary=50)  # fmt: skip
    told = list[str]()
    sweep(config, tmp_path / "s", say=told.append)
    first = next(number for number, line in enumerate(told) if line.startswith("[1/4]"))
    assert [line.split()[0] for line in told[:first]] == [
        "loading", "reading", "fitting", "preparing", "encoding", "encoding"
    ]  # fmt: skip
    assert told[first - 1] == "encoding 56 pictures by uniform-0.5"


def test_the_same_seed_gives_the_same_numbers(atm, victim, pictures, tmp_path):
    few = ("--snr", "5", "--images", 6)
    for name in ("a", "b"):
        assert atm(*ask(victim, pictures, tmp_path / name, *few))[0] == 0
    assert (tmp_path / "a/points.jsonl").read_bytes() == (tmp_path / "b/points.jsonl").read_bytes()
    assert atm(*ask(victim, pictures, tmp_path / "c", *few, "--seed", 1))[0] == 0
    assert (tmp_path / "a/points.jsonl").read_bytes() != (tmp_path / "c/points.jsonl").read_bytes()


def test_a_killed_sweep_goes_on_as_if_nothing_had_happened(atm, victim, pictures, tmp_path, monkeypatch):
    assert atm(*ask(victim, pictures, tmp_path / "whole"))[0] == 0
    measured, original = [], audit.sweep.Bench.measure

    def measure(self, system, channel, snr):
        measured.append((system, channel, snr))
        if len(measured) == 4:
            raise KeyboardInterrupt
        return original(self, system, channel, snr)

    monkeypatch.setattr(audit.sweep.Bench, "measure", measure)
    assert atm(*ask(victim, pictures, tmp_path / "killed"))[0] == 130
    with open(tmp_path / "killed/points.jsonl", "a") as file:
        file.write('{"policy": "none", "chan')  # torn by a kill in mid-write
    code, _, err = atm(*ask(victim, pictures, tmp_path / "killed"))
    assert code == 2 and "--resume" in err
    assert atm(*ask(victim, pictures, tmp_path / "killed", "--resume"))[0] == 0
    assert len(measured) == 9, "eight points, and the one that was killed"
    for name in ("points.jsonl", "points.csv", "frames.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--snr", "20:0:2"), "no range"), (("--snr", "x"), "no range"), (("--channel", "awgn:10"), "sets the SNR"),
        (("--channel", "noiseless"), "no SNR"), (("--channel", "agwn"), "did you mean"),
        (("--eavesdropper-channel", "rician,q=1"), "unknown option"), (("--attack", "rigde"), "did you mean"),
        (("--threat", "eavesdropper:awgn:3"), "--eavesdropper-channel"), (("--attack", "identify"), "rebuilds nothing"),
        (("--attack", "closed-form", "--attack", "identify"), "rebuilds nothing"),
    ],
)  # fmt: skip
def test_bad_input_is_one_clear_line(atm, victim, pictures, tmp_path, words, says):
    code, out, err = atm(*ask(victim, pictures, tmp_path / "s", *words))
    assert code == 2 and says in err and len(err.strip().splitlines()) == 1 and not out
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_codecs_are_compared_in_one_sweep(atm, victim, pictures, tmp_path):
    more = ("--codec", "uncoded", "--codec", "digital:10", "--snr", "5,30")
    assert atm(*ask(victim, pictures, tmp_path / "s", *more))[0] == 0
    table = pd.read_csv(tmp_path / "s/points.csv")
    assert set(table.policy) == {f"{p}, {c}" for p in ("none", "uniform-0.5") for c in ("uncoded", "digital:10")}
    symbols = table[table.quantity == "symbols"].groupby("policy").estimate.mean()
    count, amplitude = 5, 32  # bits in the header, at 2/3 of a bit a symbol
    assert symbols["none, digital:10"] == 17 * 32 + math.ceil(count * 1.5)
    assert symbols["none, uncoded"] == 17 * 12 + math.ceil((count + amplitude) * 1.5)
    server = table[(table.quantity == "server") & (table.channel == "awgn")].set_index(["policy", "snr"]).estimate
    assert server["none, digital:10", 30] > server["none, digital:10", 5]
    assert "codec digital:10 (32 symbols a token)" in (tmp_path / "s/sweep.html").read_text()


def test_a_sweep_is_not_changed_or_lost_by_accident(atm, victim, pictures, tmp_path):
    assert atm(*ask(victim, pictures, tmp_path / "s", "--snr", "5"))[0] == 0
    code, _, err = atm(*ask(victim, pictures, tmp_path / "s", "--resume", "--seed", 3))
    assert code == 2 and "seed" in err
    assert atm(*ask(victim, pictures, tmp_path / "s", "--resume", "--snr", "5,10"))[0] == 0
    assert len((tmp_path / "s/points.jsonl").read_text().splitlines()) == 8, "the new SNR is added"
    (tmp_path / "other").mkdir()
    (tmp_path / "other/x").write_text("x")
    code, _, err = atm(*ask(victim, pictures, tmp_path / "other", "--force"))
    assert code == 2 and "no sweep" in err


def test_a_sweep_goes_on_under_another_name_of_its_attack_and_not_with_another(atm, victim, pictures, tmp_path):
    few = ("--images", 6, "--snr", "5", "--attack", "ridge")
    assert atm(*ask(victim, pictures, tmp_path / "s", *few))[0] == 0
    more = ("--images", 6, "--snr", "5,10", "--resume")
    code, _, err = atm(*ask(victim, pictures, tmp_path / "s", *more, "--attack", "ridge", "--attack", "nearest"))
    assert code == 2 and "attacks is no longer" in err
    assert atm(*ask(victim, pictures, tmp_path / "s", *more, "--attack", "closed-form"))[0] == 0
    assert len((tmp_path / "s/points.jsonl").read_text().splitlines()) == 8


def test_a_sweep_needs_an_attack_that_reads_tokens():
    assert unblind(["mean_image", "ridge"], ("closed-form",), "image") == ["ridge"]
    assert unblind(["mean_image"], ("mean_image",), "image") == ["mean_image"], "asked for by name"
    with pytest.raises(AtmError, match="no attack is left"):
        unblind(["mean_image"], ("standard",), "image")


def test_grids():
    assert grid("0:20:5") == (0, 5, 10, 15, 20) and grid("0:1:0.1")[-1] == 1 and grid("3,1,3") == (3, 1)
    assert grid("-5:5:5") == (-5, 0, 5)
    for bad in ("", "0:1", "1:0:1", "0:1:0", "nan", "0:1e9:0.1", "1,,2"):
        with pytest.raises(AtmError, match="no range"):
            grid(bad)


def test_each_system_computes_its_tokens_once_for_all_points(atm, victim, pictures, tmp_path, monkeypatch):
    computed, original = [], Encodings._computed
    monkeypatch.setattr(Encodings, "_computed", lambda self: computed.append(len(self)) or original(self))
    monkeypatch.setattr(Link, "forward", lambda *given: pytest.fail("pictures went through the encoder again"))
    assert atm(*ask(victim, pictures, tmp_path / "s"))[0] == 0
    assert sorted(computed) == [10, 10, 50, 50], "victims and auxiliary pictures, once under each policy"
