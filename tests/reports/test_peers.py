"""Which runs shed light on each other: one thing differs, and everything else is the same."""

from __future__ import annotations

import math

import pytest

from atm.errors import AtmError
from reports.peers import check_against, comparable, differs_only_in, number, stronger, surely_higher, twice_the_budget
from tests.reports.scores import NAME, run_of, together

SCORES = {"ridge": {"ssim": [0.2, 0.3, 0.4]}}
SERVER = {"name": "server", "tap": "server"}


def run(**about):
    return run_of(SCORES, **about)


def asked(**config):
    return run(config=config)


def test_runs_of_the_same_policy_victim_and_pictures_are_comparable():
    assert comparable(run(), run(), NAME)
    assert not comparable(run(), run(), "other"), "which neither has"
    assert not comparable(run(), run_of(SCORES, policy="other"), NAME)
    assert not comparable(run(), run(policies=[{"name": NAME, "thresholds": [0.5]}]), NAME)
    assert not comparable(run(), run(victim={"digest": "1", "patches": 16}), NAME)
    assert not comparable(run(), run(data={"victims_digest": "2"}), NAME)


def test_of_several_policies_the_one_in_question_must_be_the_same():
    ours = together(run_of(SCORES, policy="a"), run())
    theirs = together(run_of(SCORES, policy="a", policies=[{"name": "a", "thresholds": [0.5]}]), run())
    assert comparable(ours, theirs, NAME) and not comparable(ours, theirs, "a")
    check_against(ours, (theirs,))


def test_a_run_that_sheds_no_light_is_refused():
    check_against(run(), (run(), run()))
    with pytest.raises(AtmError, match="--against"):
        check_against(run(), (run(), run(data={"victims_digest": "2"})))


@pytest.mark.parametrize("file", ["placer", "prior"])
def test_of_what_she_brings_along_the_content_counts_and_not_the_name(file):
    ours, same, other = (
        run(config={file: name}, **{file: digest}) for name, digest in (("a", "1"), ("b", "1"), ("a", "2"))
    )
    assert differs_only_in(ours, same, set()) and not differs_only_in(ours, other, set())
    assert not differs_only_in(ours, run(), set())


def test_runs_that_differ_in_nothing_else():
    assert differs_only_in(asked(seed=1), asked(seed=2), {"seed"}) and differs_only_in(asked(), asked(), set())
    assert not differs_only_in(asked(seed=1), asked(seed=2), set())
    assert not differs_only_in(asked(seed=1, images=5), asked(seed=2, images=6), {"seed"})
    assert not differs_only_in(asked(quick=True), asked(), {"seed"}) and not differs_only_in(
        asked(), asked(quick=True), set()
    )
    assert differs_only_in(asked(policies=["a"], repeats=1), asked(policies=["b"], repeats=2), set())


@pytest.mark.parametrize(
    "ours, theirs, twice",
    [
        ({"auxiliary": 100}, {"auxiliary": 200}, True), ({"auxiliary": 100}, {"auxiliary": 199}, False),
        ({"auxiliary": 200}, {"auxiliary": 100}, False), ({"auxiliary": 100}, {"auxiliary": 100}, False),
        ({"steps": 100}, {"steps": 300}, True), ({"budget": 10.0}, {"budget": 20.0}, True),
        ({"budget": 10.0}, {"budget": None}, True), ({"budget": None}, {"budget": 10.0}, False),
        ({"auxiliary": 100, "budget": 10.0}, {"auxiliary": 200, "budget": 15.0}, False),
        ({"auxiliary": 100, "budget": 10.0}, {"auxiliary": 200, "budget": 20.0}, True),
        ({"auxiliary": 100, "seed": 1}, {"auxiliary": 200, "seed": 2}, False),
        ({"auxiliary": 100}, {"auxiliary": None}, False),
    ],
)  # fmt: skip
def test_at_least_twice_the_budget_and_nothing_else(ours, theirs, twice):
    assert twice_the_budget(asked(**ours), asked(**theirs)) == twice


def adversary(link="awgn:10", **threat):
    return run(threat={**SERVER, **threat}, channel=link, config={"threat": str(threat), "attacks": [str(threat)]})


EVE = {"name": "eve", "tap": "eavesdropper"}


@pytest.mark.parametrize(
    "ours, theirs, expected",
    [
        ({}, {"knows": ["weights"]}, True), ({"knows": ["weights"]}, {}, False),
        ({"knows": ["weights"]}, {"knows": ["codec"]}, False),
        ({"knows": ["weights", "codec"]}, {"knows": ["codec"]}, True),
        ({"auxiliary": 100}, {"auxiliary": 50}, True), ({"auxiliary": 50}, {"auxiliary": 100}, False),
        ({}, {"auxiliary": 50}, True), ({"auxiliary": 50}, {}, False),
        ({"queries": 100}, {"queries": 50}, True), ({"queries": 50}, {"queries": 100}, False),
        ({}, {"queries": 50}, True), ({"queries": 50}, {}, False),
        ({"auxiliary": 100, "queries": 50}, {"auxiliary": 50, "queries": 100}, False),
        ({"shifted": True}, {}, False), ({}, {"shifted": True}, True),
        ({}, {**EVE, "channel": "awgn:0"}, True), ({**EVE, "channel": "awgn:0"}, {}, False),
        ({}, EVE, True), (EVE, {}, True), ({**EVE, "channel": "rician:9,k=3"}, {}, False),
        ({**EVE, "channel": "rician:11,k=3"}, {}, True), ({**EVE, "channel": "noiseless"}, {}, True),
        ({"tap": "before-codec"}, {**EVE, "channel": "awgn:40"}, True),
        ({**EVE, "channel": "awgn:40"}, {"tap": "before-codec"}, False), ({}, {}, False),
    ],
)  # fmt: skip
def test_who_sees_and_knows_at_least_as_much_is_stronger(ours, theirs, expected):
    assert stronger(adversary(**ours), adversary(**theirs)) == expected


def test_all_else_must_be_equal_for_one_to_be_stronger():
    weak = run(threat={**SERVER, "knows": ["weights"]}, config={"threat": "weak", "images": 7})
    assert not stronger(adversary(), weak)


def test_leakage_that_is_surely_higher():
    low, high = run(), run_of({"ridge": {"ssim": [0.4, 0.5, 0.6]}})
    assert surely_higher(high, low, NAME, 0.1) and not surely_higher(high, low, NAME, 0.21)
    assert not surely_higher(low, high, NAME, 0.1)
    one = [run_of({"ridge": {"ssim": [value]}}) for value in (0.9, 0.1)]
    assert not surely_higher(*one, NAME, 0.1), "one picture shows nothing"
    two = [run_of({"ridge": {"ssim": [value] * 2}}) for value in (0.9, 0.1)]
    assert surely_higher(*two, NAME, 0.1) and not surely_higher(two[0], low, NAME, 0.1), "other numbers of pictures"


def test_what_is_no_number_compares_as_false():
    assert number("10") == 10 and all(math.isnan(number(v)) for v in ("", None, "x", "10,k=3"))
