"""Merging beside dropping of its bandwidth and noise of its accuracy."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import audit.compare
from atm.errors import AtmError
from audit.compare import CompareConfig, candidates, compare, drop_of_equal_bandwidth, noise_of_equal_accuracy
from audit.setting import defended, prepare
from reports.compare import FEWEST, Comparison
from tests.audit.conftest import parse


def few(victim, pictures, **changes) -> CompareConfig:
    asked = {"policies": ("uniform-0.5",), "attacks": ("ridge",), "victim": str(victim), "data": str(pictures)}
    return CompareConfig(**(asked | {"images": 6, "auxiliary": 60} | changes))


def test_dropping_is_matched_in_bandwidth_and_noise_in_accuracy(victim, pictures):
    config = few(victim, pictures)
    setting = prepare(config.attack())
    policy, images = setting.policies[1], setting.data.victims.images
    merged = setting.link(policy).transmit(images)
    text = f"drop:{drop_of_equal_bandwidth(setting, policy):g}"
    dense = setting.link(setting.policies[0])
    dropped = defended(dense, text, setting.data, config.seed).transmit(images)
    per_token = dense.codec.symbols_per_token
    gap = abs(float(merged.symbols.double().mean() - dropped.symbols.double().mean()))
    assert gap <= 0.5 * per_token + 1e-6 and float(dropped.symbols[0]) < float(dense.transmit(images).symbols[0])

    strength = noise_of_equal_accuracy(config, setting, policy)
    assert 0 <= strength <= audit.compare.STRONGEST


def test_the_noise_is_the_strongest_that_keeps_the_accuracy(victim, pictures, monkeypatch):
    """With an accuracy that falls linearly with the noise the crossing is known."""
    config = few(victim, pictures)
    setting = prepare(config.attack())

    def accuracy(link, images, truth):
        return 0.6 if link.defence is None else 1 - link.defence.strength / 2.5

    monkeypatch.setattr(audit.compare, "_accuracy", accuracy)
    width = audit.compare.STRONGEST / 2**audit.compare.BISECTIONS
    assert noise_of_equal_accuracy(config, setting, setting.policies[1]) == pytest.approx(1.0, abs=width)


def test_compare_measures_all_and_goes_on_where_it_was_killed(atm, victim, pictures, tmp_path, monkeypatch):
    words = ("compare", "--victim", victim, "--data", pictures, "--images", 6, "--auxiliary", 60, "--attack", "ridge",
             "--policy", "uniform-0.5", "--defense", "none", "--defense", "quantize:2")  # fmt: skip
    code, text, err = atm(*words, "--out", tmp_path / "whole", "--json")
    assert code == 0, err
    names = ["none", "uniform-0.5", "drop for uniform-0.5", "noise for uniform-0.5", "quantize:2"]
    result = parse(text)
    assert [p["name"] for p in result["points"]] == names and len(result["pairs"]) == 2
    assert all("too few pictures" in p["sentence"].lower() for p in result["pairs"]), "six pictures claim nothing"
    for name in ("points.csv", "compare.svg", "compare.html"):
        assert (tmp_path / "whole" / name).stat().st_size > 100
    assert {"mean_image", "best_constant", "random_image", "ridge"} == set(
        Comparison.read(tmp_path / "whole").points[0]["ssim"]
    )

    started = []

    def measure(config, setting, candidate, plan):
        if len(started) == 2:
            raise KeyboardInterrupt
        started.append(candidate.name)
        return original(config, setting, candidate, plan)

    original = audit.compare.measure
    monkeypatch.setattr(audit.compare, "measure", measure)
    assert atm(*words, "--out", tmp_path / "killed")[0] == 130
    with open(tmp_path / "killed/points.jsonl", "a") as file:
        file.write('{"name": "cut o')
    monkeypatch.setattr(audit.compare, "measure", original)
    assert atm(*words, "--out", tmp_path / "killed")[0] == 2
    assert atm(*words, "--out", tmp_path / "killed", "--seed", 3, "--resume")[0] == 2
    assert atm(*words, "--out", tmp_path / "killed", "--resume")[0] == 0
    assert (tmp_path / "killed/points.jsonl").read_bytes() == (tmp_path / "whole/points.jsonl").read_bytes()


def test_quick_and_a_budget_are_those_of_an_attack_and_the_page_says_so(atm, victim, pictures, tmp_path):
    words = ("compare", "--victim", victim, "--data", pictures, "--images", 6, "--auxiliary", 60, "--attack", "decoder",
             "--policy", "none", "--defense", "quantize:2", "--quick", "--budget", 1e-3)  # fmt: skip
    code, text, err = atm(*words, "--out", tmp_path / "whole")
    assert code == 0, err
    page = (tmp_path / "whole/compare.html").read_text(encoding="utf-8")
    cut = "budget ended decoder on none (--budget)"
    for line in ("Attacked with decoder, trained anew", "few steps (--quick)", cut):
        assert line in page and line in " ".join(text.split())
    loops = [json.loads(line)["loop"] for line in (tmp_path / "whole/steps.jsonl").read_text().splitlines()]
    assert len(loops) == len({*loops}), "each choice is made once"
    systems = {loop.split("/")[0] for loop in loops}
    assert systems == {"none", "quantize:2"}, "choices of each system, though both merge alike"
    assert atm(*words, "--out", tmp_path / "again")[0] == 0
    points = [(tmp_path / out / "points.jsonl").read_text() for out in ("whole", "again")]
    assert points[0] == points[1], "one step each, however fast the machine"


@pytest.mark.slow
def test_a_secret_order_is_met_by_attacks_that_recover_it(victim, pictures):
    config = few(victim, pictures, policies=("none",), defenses=("shuffle",))
    setting = prepare(config.attack())
    shuffled = list(candidates(config, setting, lambda line: None))[-1]
    point = audit.compare.measure(config, setting, shuffled)
    assert {"ridge", "position"} <= set(point["ssim"])


@pytest.mark.parametrize(("shift", "says"), [(0.1, "leaks more"), (-0.1, "leaks less"), (0.0, "no difference")])
def test_the_sentence_says_which_way_the_difference_goes(tmp_path, shift, says):
    generator = np.random.default_rng(0)
    base, noise = generator.uniform(0.2, 0.8, FEWEST), generator.normal(0, 0.02, FEWEST)
    noise -= noise.mean()
    point = {"correct": [1] * FEWEST, "symbols": [10] * FEWEST, "kind": "dropping", "matched_to": None}
    merged = point | {"name": "merged", "leakage": (base + shift + noise).tolist()}
    other = point | {"name": "drop", "matched_to": "merged", "leakage": base.tolist()}
    (pair,) = Comparison(tmp_path, {}, [merged, other]).pairs()
    assert says in pair.sentence.lower()
    assert pair.leakage.difference.estimate == pytest.approx(shift, abs=1e-9)


def test_bad_defences_are_refused_before_anything_is_written(victim, pictures, tmp_path):
    with pytest.raises(Exception, match="unknown defence"):
        compare(few(victim, pictures, defenses=("shufle",)), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("attacks", "words"), [(("identify",), "rebuilds nothing"), (("ridge", "identify"), "rebuilds nothing")]
)
def test_what_measures_no_leakage_is_refused_before_anything_is_written(victim, pictures, tmp_path, attacks, words):
    with pytest.raises(AtmError, match=words):
        compare(few(victim, pictures, attacks=attacks), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_comparison_goes_on_under_another_name_of_its_attack(victim, pictures, tmp_path):
    compare(few(victim, pictures, policies=("none",)), tmp_path / "out")
    compare(few(victim, pictures, policies=("none",), attacks=("closed-form",)), tmp_path / "out", resume=True)
    with pytest.raises(AtmError, match="attacks is no longer"):
        compare(few(victim, pictures, policies=("none",), attacks=("nearest",)), tmp_path / "out", resume=True)


def test_same_seed_same_point(victim, pictures):
    config = few(victim, pictures, policies=("none",))
    setting = prepare(config.attack())
    first = next(iter(candidates(config, setting, lambda line: None)))
    torch.manual_seed(5)
    once = json.dumps(audit.compare.measure(config, setting, first))
    torch.manual_seed(6)
    assert once == json.dumps(audit.compare.measure(config, setting, first))


@pytest.mark.parametrize(("right", "equal"), [(FEWEST, True), (FEWEST - 1, True), (FEWEST // 2, False)])
def test_noise_that_answers_better_here_is_no_equal(tmp_path, right, equal):
    leakage = np.linspace(0.2, 0.8, FEWEST)
    point = {"symbols": [10] * FEWEST, "matched_to": None}
    merged = point | {"name": "m", "policy": "m", "kind": "merging", "leakage": leakage.tolist()}
    noise = point | {"name": "n", "kind": "noise", "matched_to": "m", "leakage": (leakage - 0.1).tolist()}
    merged["correct"], noise["correct"] = [1] * right + [0] * (FEWEST - right), [1] * FEWEST
    (pair,) = Comparison(tmp_path, {}, [merged, noise]).pairs()
    assert ("no comparison of equals" not in pair.sentence) == equal
