"""What is judged beside pixels: the word for every rate, and who is meant to know."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_1samp

from reports.findings import findings, identity, label, position, retrieval, traffic
from reports.level import gravest
from tests.reports.scores import NAME, run_of, together

EVE = {"name": "eve", "tap": "eavesdropper", "knows": ["weights", "auxiliary"], "channel": None}
HALF = {"label_correct": 0.5, "rank_1": 0.01, "rank_5": 0.05}


def some(hits: int, n: int = 100) -> list[int]:
    return [int(i < hits) for i in range(n)]


def read(hits: int, n: int = 100, chance: float = 0.5, inference: str = "reader", policy: str = NAME, **about):
    """A run in which an eavesdropper read so many labels."""
    about = {"threat": EVE, "chance": {**HALF, "label_correct": chance}, **about}
    return run_of({inference: {"label_correct": some(hits, n)}}, policy=policy, **about)


def by_counting(hits: int, n: int, chance: float) -> str:
    """Sure by the exact test; how much, and how little at most, by Wilson's interval and the way from chance to 1."""
    test = binomtest(hits, n, chance, alternative="greater")
    ends = binomtest(hits, n).proportion_ci(method="wilson")
    low, high = ((end - chance) / (1 - chance) for end in ends)
    if test.pvalue < 0.05:
        return "leaks" if low > 0.5 else "leaks in part"
    return "no leak found" if n >= 100 and high < 0.25 else "inconclusive"


@pytest.mark.parametrize("n", [20, 99, 100])
@pytest.mark.parametrize("chance", [0.1, 0.5])
def test_the_word_for_every_number_of_labels_that_were_read(n, chance):
    for hits in range(0, n + 1, 1 if n < 99 else 7):
        found = label(read(hits, n, chance), NAME)
        assert (found.about, found.level, found.chance) == ("label", by_counting(hits, n, chance), chance)
        assert found.rate.estimate == pytest.approx(hits / n) and found.rate.n == n
    assert {by_counting(hits, 100, 0.5) for hits in range(101)} == {
        "leaks", "leaks in part", "no leak found", "inconclusive"}  # fmt: skip


def planted(monkeypatch, low, high, p_value, n=100, chance=0.5):
    from privacy_metrics.statistics import Interval
    from reports import harm

    monkeypatch.setattr(harm, "wilson", lambda hits, n_: Interval(0.6, low, high, n))
    monkeypatch.setattr(harm, "rate_p_value", lambda *given: p_value)
    return label(read(60, chance=chance), NAME).level


@pytest.mark.parametrize(
    "low, high, p_value, n, expected",
    [
        (0.75, 0.9, 0.01, 100, "leaks in part"),  # half of the way itself is not above it
        (0.7500001, 0.9, 0.01, 100, "leaks"),
        (0.9, 0.95, 0.05, 100, "inconclusive"),  # the p-value must be below, and is not
        (0.9, 0.95, 0.0499999, 100, "leaks"),
        (0.4, 0.625, 0.5, 100, "inconclusive"),  # a quarter of the way is not below it
        (0.4, 0.6249999, 0.5, 100, "no leak found"),
        (0.4, 0.6249999, 0.5, 99, "inconclusive"),
    ],
)
def test_every_threshold_must_be_crossed_and_not_only_reached(monkeypatch, low, high, p_value, n, expected):
    assert planted(monkeypatch, low, high, p_value, n) == expected


def test_a_label_that_all_pictures_share_is_no_test_of_what_tokens_tell():
    assert label(read(100, chance=1.0), NAME) is None
    other = {"reader": {"label_correct": some(100), "rank_1": some(90)}}
    found = findings(run_of(other, threat=EVE, chance={**HALF, "label_correct": 1.0}), NAME)
    assert [(f.about, f.level) for f in found] == [("identity", "leaks")]
    assert label(read(99, chance=0.99), NAME).level == "inconclusive"


def test_the_gravest_of_several_inferences_is_told_and_of_these_the_surest():
    scores = {"weak": {"label_correct": some(50)}, "some": {"label_correct": some(70)},
              "good": {"label_correct": some(90)}, "best": {"label_correct": some(99)}}  # fmt: skip
    found = label(run_of(scores, threat=EVE, chance=HALF), NAME)
    assert (
        found.level == "leaks" and found.sentence.startswith("Not private: ") and "(best: label read)" in found.sentence
    )
    found = label(run_of(dict(list(scores.items())[:2]), threat=EVE, chance=HALF), NAME)
    assert found.level == "leaks in part" and found.rate.estimate == 0.7


def test_rates_of_all_policies_and_inferences_are_corrected_together():
    alone = read(60)  # its p-value is 0.028
    assert label(alone, NAME).level == "leaks in part"
    other = read(50, policy="other")
    both = together(alone, other)
    assert label(both, NAME).level == "inconclusive" and label(both, "other").level == "no leak found"


def test_each_policy_is_judged_by_its_own_rates():
    both = together(read(50), read(99, policy="other"))
    assert [label(both, policy).level for policy in (NAME, "other")] == ["no leak found", "leaks"]


def test_labels_told_by_the_number_of_tokens_are_another_finding():
    run = run_of(
        {"traffic": {"label_correct": some(99)}, "reader": {"label_correct": some(50)}}, threat=EVE, chance=HALF
    )
    assert (label(run, NAME).level, traffic(run, NAME).level) == ("no leak found", "leaks")
    assert traffic(run, NAME).about == "traffic" and "number of tokens" in traffic(run, NAME).sentence
    assert traffic(read(50), NAME) is None and label(read(99, inference="traffic"), NAME) is None
    ranked = run_of({"traffic": {"rank_1": some(99)}}, threat=EVE, chance=HALF)
    assert traffic(ranked, NAME) is None and identity(ranked, NAME).level == "leaks"


@pytest.mark.parametrize("metric", ["rank_1", "rank_5"])
def test_a_picture_that_is_told_among_candidates(metric):
    run = run_of({"matcher": {metric: some(90)}}, threat=EVE, chance=HALF)
    found = identity(run, NAME)
    assert (found.about, found.level, found.chance) == ("identity", "leaks", HALF[metric])
    assert label(run, NAME) is traffic(run, NAME) is None
    assert identity(run_of({"matcher": {metric: some(1)}}, threat=EVE, chance=HALF), NAME).level == "no leak found"


def test_what_was_not_looked_at_is_no_finding():
    run = run_of({"ridge": {"ssim": [0.3] * 100}}, threat=EVE)
    assert findings(run, NAME) == []


def test_all_that_was_looked_at_is_found_and_in_this_order():
    scores = {"nearest": {"ssim": [0.2] * 100}, "codes": {"placed": [0.5] * 100, "placed_blindly": [0.5] * 100},
              "ridge": {"psnr": np.linspace(20, 21, 100)}, "reader": {"label_correct": some(50), "rank_1": some(1)},
              "traffic": {"label_correct": some(50)}}  # fmt: skip
    run = run_of(scores, threat=EVE, chance=HALF, proven={"Wiener": 0.5})
    found = findings(run, NAME)
    assert [f.about for f in found] == ["bound", "label", "traffic", "identity", "retrieval", "position"]
    assert gravest(f.level for f in found) == "beats the bound"


# Retrieval: scored as pixels are, but that few pictures can never show harmlessness.


def retrieved(ssim, blind=0.1, random=None, n=100):
    scores = {"mean_image": {"ssim": [blind] * n}, "nearest": {"ssim": ssim}}
    if random is not None:
        scores["random_image"] = {"ssim": random}
    return retrieval(run_of(scores), NAME)


def test_retrieval_is_judged_by_the_pictures_that_owe_it_to_the_tokens():
    assert retrieved([0.7] * 70 + [0.2] * 30).level == "leaks"
    assert retrieved([0.7] * 30 + [0.2] * 70).level == "leaks in part"
    assert retrieved([0.7] * 5 + [0.2] * 95).level == "inconclusive"
    assert retrieved([0.2] * 100).level == "no leak found"
    assert retrieved([0.7] * 100, blind=0.65).level == "no leak found"
    assert retrieved([0.2] * 99, n=99).level == "inconclusive" and retrieved([0.7] * 99, n=99).level == "leaks"
    found = retrieved([0.7] * 30 + [0.2] * 70)
    assert found.about == "retrieval" and found.rate.estimate == pytest.approx(0.3) and found.chance is None
    assert "for 30% [22%, 40%] of pictures." in found.sentence


def test_what_drawing_a_picture_finds_is_shown_beside_it():
    found = retrieved([0.7] * 60 + [0.2] * 40, random=[0.6] * 20 + [0.2] * 80)
    assert found.chance == pytest.approx(0.2) and "20% by drawing one" in found.sentence


def test_retrieval_in_repeats_that_the_baselines_lack_is_left_out():
    blind, ridge = [[0.1] * 100, [0.1] * 100], [[0.2] * 100, [0.2] * 100]
    found = [[0.2] * 100, [0.2] * 100, [0.9] * 100]
    scores = {"mean_image": {"ssim": blind}, "ridge": {"ssim": ridge}, "nearest": {"ssim": found},
              "random_image": {"ssim": [[0.9] * 100, [0.2] * 100, [0.9] * 100]}}  # fmt: skip
    judged = retrieval(run_of(scores), NAME)
    assert judged.level == "no leak found" and judged.chance == 0.5


# Position.


def placing(shares, guesses, threat=EVE, tokens=8, **others):
    scores = {"codes": {"placed": shares, "placed_blindly": guesses}, **others}
    return position(run_of(scores, threat=threat, link={"tokens": tokens}), NAME)


def spread(mean: float, n: int = 100) -> np.ndarray:
    return mean + 0.02 * np.sin(np.arange(n))


@pytest.mark.parametrize("mean, expected", [(0.2, "no leak found"), (0.235, "no leak found"), (0.245, "leaks in part"),
                                            (0.55, "leaks in part"), (0.65, "leaks")])  # fmt: skip
def test_places_are_judged_beyond_a_guess_and_what_is_tolerated(mean, expected):
    """Of the way from a guess of 0.2 to 1, a twentieth is 0.24 and a half is 0.6."""
    found = placing(spread(mean), [0.2] * 100)
    assert found.level == expected and found.about == "position" and found.chance == pytest.approx(0.2)
    assert (found.level.startswith("leaks")) == (ttest_1samp(spread(mean), 0.24, alternative="greater").pvalue < 0.05)


def test_few_pictures_show_no_harmlessness_of_places_and_one_shows_nothing():
    assert placing(spread(0.2, 99), [0.2] * 99).level == "inconclusive"
    assert placing([0.9], [0.2]).level == "inconclusive"
    assert placing([0.9, 0.91], [0.2, 0.2]).level == "leaks"


def test_where_all_is_one_token_there_is_no_place_to_tell():
    assert placing([1.0] * 100, [1.0] * 100).level == "no leak found"


@pytest.mark.parametrize("p_value, expected", [(0.05, "inconclusive"), (0.0499, "leaks")])
def test_places_must_surely_be_told(monkeypatch, p_value, expected):
    monkeypatch.setattr("reports.findings.paired_p_value", lambda *given, by: p_value)
    assert placing(spread(0.9), [0.2] * 100).level == expected


def test_the_best_attack_on_places_is_judged():
    weak = {"placed": [0.2] * 100, "placed_blindly": [0.2] * 100}
    assert placing(spread(0.9), [0.2] * 100, weak=weak, ridge={"ssim": [0.1] * 100}).level == "leaks"
    assert placing([0.2] * 100, [0.2] * 100, strong={**weak, "placed": spread(0.9)}).level == "leaks"


@pytest.mark.parametrize(
    "knows, tokens, told",
    [
        (["order"], 16, True), (["order"], 17, True), (["order"], 8, False), ([], 16, False),
        (["order"], [16] * 99 + [15], False), (["merge_map", "order"], 8, True), (["weights"], 16, False),
    ],
)  # fmt: skip
def test_places_that_the_adversary_is_told_are_no_finding(knows, tokens, told):
    found = placing(spread(0.9), [0.2] * 100, {**EVE, "knows": knows}, tokens)
    assert found.level == ("hers anyway" if told else "leaks") and found.about == "position"
    assert found.chance == pytest.approx(0.2) and found.rate.estimate == pytest.approx(0.9, abs=0.01)
