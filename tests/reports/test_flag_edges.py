"""Every flag at both sides of its threshold: a flag that stays down wrongly is a claim of harmlessness."""

from __future__ import annotations

import math

import numpy as np
import pytest

from atm.threat import PRESETS
from privacy_metrics.statistics import Interval
from reports import case as cases
from reports import peers
from reports.case import Case
from reports.flags import raised
from tests.reports.scores import NAME, run_of, together

N = 120
FLOOR = np.linspace(0.10, 0.30, N)
SOUND = {"mean_image": {"ssim": FLOOR}, "ridge": {"ssim": FLOOR + 0.05}}
CANARY = {"attack": "ridge", "ssim": 0.99, "recognisable": 1.0, "images": 50}


def names(run, *against):
    return [flag.name for flag in raised(Case(run, NAME, against))]


def found(run, *against):
    return " ".join(map(str, raised(Case(run, NAME, against))))


def ssim(**scores):
    return {attack: {"ssim": values} for attack, values in scores.items()}


def record(attack="decoder", policy=NAME, **changes):
    return {"policy": policy, "attack": attack, "repeat": 0, "train": [1.0] * 20, "gradient": [1.0] * 20,
            "validation": [], "best_step": None, "cut": False, **changes}  # fmt: skip


def test_a_sound_run_raises_none_and_flags_speak_for_themselves():
    assert names(run_of(SOUND, history=[record("ridge")])) == []
    assert found(run_of(SOUND, left_out=["whole", "guided"])).startswith("part of the suite: not asked for")
    assert "whole, guided" in found(run_of(SOUND, left_out=["whole", "guided"]))


@pytest.mark.parametrize(("taken", "expected"), [(0, False), (50, False), (51, True)])
def test_many_pictures_that_were_taken_from_her(taken, expected):
    data = {"victims_digest": "1", "auxiliary": 1000 - taken, "alike": taken}
    assert ("resembling pictures removed" in names(run_of(SOUND, data=data))) == expected
    if expected:
        assert "51 of the adversary's 1000 pictures resembled" in found(run_of(SOUND, data=data))


HIDDEN = {"threat": PRESETS["server-shuffled"].as_dict()}


@pytest.mark.parametrize(
    ("placed", "blindly", "threat", "expected"),
    [
        (0.60, 0.1, HIDDEN, True),
        (0.89, 0.1, HIDDEN, True),
        (0.90, 0.1, HIDDEN, False),
        (0.10, 0.1, HIDDEN, False),
        (0.60, 0.1, {"threat": PRESETS["server"].as_dict()}, False),
    ],
)
def test_a_search_for_places_that_is_not_at_its_end(placed, blindly, threat, expected):
    spread = np.linspace(-0.05, 0.05, N)
    weak = {"placed": np.full(N, blindly), "placed_blindly": np.full(N, blindly)}
    found_places = {"placed": placed + spread, "placed_blindly": blindly + spread[::-1]}
    run = run_of({**SOUND, "ridge": {**SOUND["ridge"], **found_places}, "whole": {**SOUND["ridge"], **weak}}, **threat)
    assert ("tokens not placed" in names(run)) == expected
    if expected:
        assert f"ridge found the token of {placed:.0%} of the patches (10% blindly)" in found(run)


def handed_to(outcome, **more):
    return [{"policy": NAME, "repeat": 0, "outcome": outcome, **more}]


@pytest.mark.parametrize(
    ("placed", "placers", "said"),
    [
        (
            0.60,
            handed_to("gone on from", alone=0.4, given=0.5, placed=0.6),
            "(10% blindly); the placer was gone on from",
        ),
        (0.60, handed_to("left aside", alone=0.6, given=0.5, placed=0.6), "left aside, so that it was of no use"),
        (0.60, handed_to("for another layer"), "for another layer, so that it was of no use"),
        (0.60, [], "ridge found the token of 60% of the patches (10% blindly)"),
        (0.90, handed_to("gone on from", placed=0.9), None),
    ],
)
def test_whoever_has_a_placer_is_advised_another_one(placed, placers, said):
    spread = np.linspace(-0.05, 0.05, N)
    scores = {**SOUND["ridge"], "placed": placed + spread, "placed_blindly": np.full(N, 0.1)}
    run = run_of({**SOUND, "ridge": scores}, placers=placers, placer="ab" * 32, **HIDDEN)
    assert names(run) == (["placer too weak"] if said else [])
    if said:
        (flag,) = raised(Case(run, NAME))
        assert said in flag.found and "--start FILE" in flag.what_to_do and str(flag).endswith(flag.found)


@pytest.mark.parametrize("n, expected", [(99, ["too few images"]), (100, [])])
def test_a_hundred_pictures_are_enough(n, expected):
    assert names(run_of(ssim(mean_image=FLOOR[:n], ridge=FLOOR[:n] + 0.05))) == expected


def test_attacks_and_inferences_that_are_missing_are_unfinished():
    asked = {"attacks": [*SOUND, "decoder"], "inferences": ["reader", "traffic"]}
    assert "unfinished: unfinished: decoder, reader, traffic;" in found(run_of(SOUND, **asked))
    read = {**SOUND, "reader": {"label_correct": [1] * N}}
    assert names(run_of(read, chance={"label_correct": 0.5})) == []
    assert "unfinished: reader;" in found(run_of(SOUND, inferences=["reader"]))


def test_what_is_finished_for_one_policy_or_repeat_may_be_unfinished_for_another():
    asked = {"attacks": [*SOUND, "decoder"]}
    whole = run_of({**SOUND, "decoder": {"ssim": FLOOR + 0.04}}, policy="other")
    assert names(together(run_of(SOUND), whole, **asked)) == ["unfinished"]
    twice = ssim(mean_image=[FLOOR, FLOOR], ridge=FLOOR + 0.05)
    assert "unfinished: ridge;" in found(run_of(twice))
    assert names(run_of({a: {"ssim": [v["ssim"]] * 2} for a, v in SOUND.items()})) == []


def test_retrieval_and_blind_baselines_rebuild_nothing():
    assert "only blind baselines" in names(run_of(ssim(mean_image=FLOOR, random_image=FLOOR)))
    assert "only blind baselines" in names(run_of(ssim(mean_image=FLOOR, nearest=FLOOR + 0.05)))
    assert "only blind baselines" not in names(run_of(ssim(mean_image=FLOOR, nearest=FLOOR, ridge=FLOOR)))


@pytest.mark.parametrize("rate, raises", [(0.9, False), (math.nextafter(0.9, 0), True), (1.0, False), (math.nan, True)])
def test_nine_tenths_of_the_canarys_pictures_must_be_recognisable(rate, raises):
    assert ("canary failed" in names(run_of(SOUND, canary={**CANARY, "recognisable": rate}))) == raises


@pytest.mark.parametrize("quick", [True, False])
def test_a_quick_run(quick):
    assert names(run_of(SOUND, config={"quick": quick})) == ["a quick run"] * quick
    assert names(run_of(SOUND, left_out=[])) == []


# Below a blind baseline.


def test_an_attack_must_stay_behind_by_more_than_is_telling():
    def behind(by):
        return names(run_of(ssim(mean_image=FLOOR, ridge=FLOOR + 0.05, decoder=FLOOR - by)))

    assert behind(0.0201) == ["below a blind baseline"] and behind(0.02) == behind(0.0199) == []


@pytest.mark.parametrize("p_value, raises", [(0.05, False), (0.0499, True)])
def test_and_surely(monkeypatch, p_value, raises):
    monkeypatch.setattr(cases, "paired_p_value", lambda a, b, by=0.0: p_value if by else 0.001)
    assert ("below a blind baseline" in names(run_of(SOUND))) == raises


def test_attacks_are_tested_together(monkeypatch):
    monkeypatch.setattr(cases, "paired_p_value", lambda a, b, by=0.0: 0.03 if by else 0.001)
    assert names(run_of(SOUND)) == ["below a blind baseline"]
    assert names(run_of({**SOUND, "decoder": {"ssim": FLOOR + 0.05}})) == []


def test_one_picture_shows_nothing_of_an_attack_and_two_do():
    assert "stays behind" not in found(run_of(ssim(mean_image=[0.5], ridge=[0.1])))
    assert "ridge stays behind mean_image" in found(run_of(ssim(mean_image=[0.5, 0.6], ridge=[0.1, 0.2])))


def test_every_attack_has_its_own_yardstick():
    scores = ssim(mean_image=FLOOR + 0.2, random_image=FLOOR, ridge=FLOOR + 0.25, nearest=FLOOR + 0.05)
    assert names(run_of(scores)) == [], "nearest is held against a random picture"
    worse = {**scores, "nearest": {"ssim": FLOOR - 0.05}}
    assert "nearest stays behind random_image" in found(run_of(worse))
    both = {**worse, "ridge": {"ssim": FLOOR}}
    assert "ridge stays behind mean_image, which reads no token and nearest" in found(run_of(both))
    best = ssim(best_constant=FLOOR + 0.2, ridge=FLOOR)
    assert "stays behind" not in found(run_of(best)), "which has no yardstick in this run"


def of_text(canary=None, **scores):
    about = {"signal": "text", "attacks": list(scores), "inferences": [], "canary": canary}
    return run_of({attack: {"rouge_l": values} for attack, values in scores.items()}, **about)


@pytest.mark.parametrize("strongest", ["common_words", "random_sentence"])
def test_the_strongest_blind_baseline_must_be_beaten_and_not_the_weakest(strongest):
    def judged(by, canary):
        return found(of_text(canary, **{"commonest_word": FLOOR, strongest: FLOOR + 0.1, "word_ridge": FLOOR + by}))

    assert "no attack beats the blind baselines" in judged(0.05, None) and judged(0.15, None) == ""
    vouching = {**CANARY, "attack": "word_ridge", "rouge_l": 0.99}
    assert f"tell word_ridge something, and yet no attack reaches {strongest}" in judged(0.05, vouching)
    assert judged(0.02, vouching) == "", "where tokens tell nothing, it is where it should be"
    assert judged(0.0799, vouching) and judged(0.08, vouching) == "", "nor is a little below it telling"


def test_attacks_that_beat_no_baseline_need_the_canary_to_vouch_for_them():
    level = ssim(mean_image=FLOOR, ridge=FLOOR, decoder=FLOOR)
    assert names(run_of(level)) == ["below a blind baseline"] and names(run_of(level, canary=CANARY)) == []
    assert names(run_of(level, canary={**CANARY, "attack": "whole"})) == ["below a blind baseline"]
    assert names(run_of({**level, "decoder": {"ssim": FLOOR + 0.001}})) == [], "however little it beats it by"
    assert "no attack beats" in found(run_of(level))


# Training.


def test_each_trouble_in_training_names_its_attacks_once_and_only_of_this_policy():
    scores = {**SOUND, "decoder": {"ssim": FLOOR + 0.05}, "guided": {"ssim": FLOOR + 0.05}}
    cut = [record(cut=True), record(cut=True, repeat=1), record("guided", cut=True), record("ridge")]
    assert found(run_of(scores, history=cut)) == ("time budget cut: decoder, guided was ended by the time budget")
    assert names(run_of(scores, history=[record(policy="other", cut=True)])) == []


@pytest.mark.parametrize(
    "name, trouble",
    [
        ("zero or NaN gradients", {"gradient": [0.0] * 20}),
        ("did not converge", {"train": [20.0 - step for step in range(20)]}),
        ("best far from last", {"validation": [(0, 2.0), (5, 1.0), (20, 1.2)], "best_step": 5}),
        ("train/validation gap", {"validation": [(20, 1.6)], "best_step": 20}),
        ("time budget cut", {"cut": True}),
    ],
)  # fmt: skip
def test_any_trouble_in_training_raises_its_own_flag(name, trouble):
    run = run_of({**SOUND, "decoder": {"ssim": FLOOR + 0.05}}, history=[record(**trouble), record("ridge")])
    (flag,) = raised(Case(run, NAME))
    assert flag.name == name and flag.found.startswith("decoder ") and flag.what_to_do


def test_a_cheaper_attack_must_beat_all_that_are_trained_by_more_than_is_telling():
    def run(decoder, guided, history=("decoder", "guided"), ridge=0.05):
        scores = ssim(mean_image=FLOOR, ridge=FLOOR + ridge, decoder=FLOOR + decoder, guided=FLOOR + guided)
        return run_of(scores, history=[record(a) for a in history])

    assert found(run(0.0299, 0.0299)) == "a cheaper attack won: ridge beats decoder, guided"
    assert names(run(0.0299, 0.03)) == names(run(0.03, 0.06)) == []
    assert names(run(0.01, 0.01, history=())) == [], "nothing was trained"
    assert names(run(0.01, 0.02, history=("decoder", "guided", "ridge"))) == [], "nothing was solved"
    assert found(run(0.01, 0.08, history=("decoder",))) == "a cheaper attack won: guided beats decoder"


# Seeds.


def test_repeats_may_differ_by_a_twentieth():
    def run(low, high):
        return run_of(ssim(mean_image=[[-1.0, -1.0]] * 2, ridge=[[low, low], [high, high]]))

    assert "seeds disagree" not in names(run(0.0, 0.05))
    assert "repeats differ by 0.05" in found(run(0.0, math.nextafter(0.05, 1)))
    assert "repeats differ by 0.06" in found(run(0.06, 0.0))


def test_single_repeats_that_are_judged_otherwise_disagree():
    worse = np.where(np.arange(N) < 1, 0.9, FLOOR + 0.05)
    run = run_of(ssim(mean_image=[FLOOR, FLOOR], ridge=[FLOOR + 0.05, worse]))
    assert found(run) == "seeds disagree: single repeats say 'leaks in part' and 'no leak found'"
    blind = run_of(ssim(mean_image=[FLOOR, worse], ridge=[FLOOR + 0.05, worse]))
    assert names(blind) == [], "each is held against its own baseline"


@pytest.mark.parametrize("change, raises", [({"seed": 1}, True), ({"seed": 1, "channel": "x"}, False),
                                            ({"seed": 1, "policies": ["b"], "repeats": 3}, True)])  # fmt: skip
def test_other_seeds_are_looked_at_where_nothing_else_differs(change, raises):
    other = run_of(ssim(mean_image=FLOOR, ridge=FLOOR + 0.15), config=change)
    assert ("seeds disagree" in names(run_of(SOUND), other)) == raises


# Other runs.


def other(by, **about):
    return run_of(ssim(mean_image=FLOOR, ridge=FLOOR + 0.05 + by), **about)


def channel(text, by=0.0):
    return other(by, channel=text, config={"channel": text})


@pytest.mark.parametrize(
    "ours, theirs, by, raises",
    [
        ("awgn:10", "awgn:0", 0.0201, True), ("awgn:10", "awgn:0", 0.0199, False), ("awgn:10", "awgn:10", 0.1, False),
        ("awgn:10", "awgn:9.9", 0.1, True), ("awgn:10", "awgn:11", 0.1, False), ("awgn:10", "rayleigh:0", 0.1, False),
        ("rician:10,k=3", "rician:0,k=3", 0.1, True), ("rician:10,k=3", "rician:0,k=9", 0.1, False),
        ("rician:10,k=3", "rician:20,k=3", 0.1, False), ("rician:10", "rician:0,k=3", 0.1, False),
        ("noiseless", "noiseless", 0.1, False), ("noiseless", "awgn:0", 0.1, False), ("awgn:-5", "awgn:-15", 0.1, True),
    ],
)  # fmt: skip
def test_less_noise_cannot_hide_more(ours, theirs, by, raises):
    run = channel(ours)
    assert ("leakage falls as SNR rises" in names(run, channel(theirs, by))) == raises
    config = {"channel": theirs, "images": 7}
    assert "leakage falls as SNR rises" not in names(run, other(by, channel=theirs, config=config)), "all else equal"


def test_of_several_runs_one_that_disagrees_is_enough():
    same, worse = channel("awgn:5"), channel("awgn:0", 0.1)
    assert names(channel("awgn:10"), same, worse) == names(channel("awgn:10"), worse, same) == [
        "leakage falls as SNR rises"]  # fmt: skip


@pytest.mark.parametrize("low, raises", [(0.02, False), (math.nextafter(0.02, 1), True)])
def test_leakage_is_higher_if_its_interval_is_beyond_the_margin(monkeypatch, low, raises):
    monkeypatch.setattr(peers, "paired_difference", lambda a, b: Interval(0.03, low, 0.04, N))
    assert ("leakage falls as SNR rises" in names(channel("awgn:10"), channel("awgn:0"))) == raises


def test_runs_of_another_victim_shed_no_light():
    stranger = other(0.1, channel="awgn:0", config={"channel": "awgn:0"}, victim={"digest": "9", "patches": 16})
    assert names(channel("awgn:10"), stranger) == []


def adversary(by, **threat):
    return other(by, threat={"name": "eve", "tap": "server", **threat}, config={"threat": str(threat)})


def test_a_weaker_adversary_must_not_win():
    weak = {"knows": ["auxiliary"]}
    assert found(adversary(0.0), adversary(0.0, **weak), adversary(0.0201, **weak)) == (
        "a weaker adversary won: 'eve' (made) rebuilt more, and has no more to go by"
    )
    assert names(adversary(0.0), adversary(0.0199, **weak)) == []
    assert names(adversary(0.0, **weak), adversary(0.3)) == [], "a stronger one may"


def test_a_larger_budget_that_is_judged_otherwise():
    rich = run_of(ssim(mean_image=FLOOR, ridge=[0.6] * 30 + list(FLOOR[30:] + 0.05)), config={"auxiliary": 2000})
    run = run_of(SOUND, config={"auxiliary": 1000})
    assert "it is 'leaks in part'" in found(run, rich) and names(rich, run) == []
    assert names(run, other(0.001, config={"auxiliary": 2000})) == []
    assert "doubled budget" in found(run, other(0.001, config={"auxiliary": 2000}), rich)
