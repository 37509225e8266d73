"""Who gives the answer is meant to learn the label, so that only what she learns beyond it is a finding."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import torch
from scipy.stats import binomtest

from reports.findings import identity, label, traffic
from reports.harm import by_policy, label_bits, meant, rates, without_tokens
from tests.reports.scores import NAME, run_of, together

SERVER = {"name": "server", "tap": "server"}
CHANCE = {"label_correct": 0.5, "rank_1": 0.01, "rank_5": 0.05}
EVE = {"name": "eve", "tap": "eavesdropper"}


def some(hits: int, n: int = 100) -> list[int]:
    return [int(i < hits) for i in range(n)]


def served(hits, answers, inference="reader", metric="label_correct", **about):
    """A run of the server: of 100 pictures, how many labels were read and which answers of the system are right."""
    scores = {inference: {metric: hits if isinstance(hits, list) else some(hits)}}
    correct = answers if isinstance(answers, list) else some(answers)
    return run_of(scores, link={"correct": correct}, **{"threat": SERVER, "chance": CHANCE, **about})


def test_only_who_gives_the_answer_is_meant_to_learn_it():
    assert meant(served(50, 50)) and meant(served(50, 50, threat={"name": "someone"}))
    assert not meant(served(50, 50, threat=EVE)) and not meant(served(50, 50, task="agreement"))
    assert not meant(served(50, 50, task=None)) and not meant(
        served(50, 50, threat={"name": "x", "tap": "before-codec"})
    )


@pytest.mark.parametrize("inference, look", [("reader", label), ("traffic", traffic)])
def test_reading_the_answer_is_no_finding_for_her_and_one_for_others(inference, look):
    found = look(served(80, 80, inference), NAME)
    assert found.level == "hers anyway" and found.chance == pytest.approx(0.8) and found.about in ("label", "traffic")
    assert "meant to give" in found.sentence and "the answer itself is right" in found.sentence
    assert look(served(80, 80, inference, threat=EVE), NAME).level == "leaks in part"
    assert look(served(80, 80, inference, task=None), NAME).level == "leaks in part"


def test_she_has_the_answer_also_where_it_is_always_right():
    assert label(served(100, 100), NAME).level == "hers anyway"


def test_reading_what_the_answer_gets_wrong_is_a_finding():
    found = label(served(99, 80), NAME)
    assert found.level == "leaks" and found.chance == pytest.approx(0.8) and found.sentence.startswith("Not private")
    assert label(served(88, 80), NAME).level == "leaks in part"
    assert label(served(82, 80), NAME).level == "hers anyway"


@pytest.mark.parametrize("more, less", [(0, 0), (5, 0), (6, 1), (0, 6), (12, 4), (4, 4)])
def test_labels_beyond_the_answers_are_counted_where_the_two_differ(more, less):
    """McNemar's test, exact: of the pictures where one of the two is right, how often it is she."""
    answers, hits = some(60), some(60)
    hits[60 : 60 + more] = [1] * more
    hits[:less] = [0] * less
    chance, p_value = without_tokens(served(hits, answers), NAME, "label_correct", torch.tensor(hits).double())
    beyond = binomtest(more, more + less, 0.5, alternative="greater").pvalue if more + less else 1.0
    over = binomtest(sum(hits), 100, 0.5, alternative="greater").pvalue
    assert p_value == pytest.approx(max(beyond, over)) and chance == pytest.approx(0.6)


def test_she_is_held_against_the_commonest_label_too_where_answers_are_worse():
    run = served(some(45), some(30))
    chance, p_value = without_tokens(run, NAME, "label_correct", torch.tensor(some(45)).double())
    assert chance == 0.5 and p_value == pytest.approx(binomtest(45, 100, 0.5, alternative="greater").pvalue)


def test_answers_that_are_right_in_most_repeats_are_right():
    run = served(some(60), some(60))
    often = [run.link.assign(repeat=r, correct=some(right)) for r, right in enumerate((60, 70, 70))]
    run = replace(run, link=pd.concat(often))
    chance, p_value = without_tokens(run, NAME, "label_correct", torch.tensor(some(80)).double())
    assert p_value == pytest.approx(0.5**10) and chance == pytest.approx(0.7)


@pytest.mark.parametrize("metric, share", [("rank_1", 1 / 10), ("rank_5", 5 / 10)])
def test_who_knows_the_label_looks_among_the_candidates_of_that_label(metric, share):
    """Of ten labels with ten pictures each, one in ten is found by chance."""
    labels = [i % 10 for i in range(100)]
    run = run_of({"m": {metric: some(50)}}, link={"label": labels}, threat=SERVER, chance=CHANCE)
    found = identity(run, NAME)
    assert found.chance == pytest.approx(share) and found.about == "identity"
    assert found.level == ("leaks in part" if metric == "rank_1" else "no leak found")
    assert "the right label alone leads to" in found.sentence
    other = identity(run_of({"m": {metric: some(50)}}, link={"label": labels}, threat=EVE, chance=CHANCE), NAME)
    assert other.chance == CHANCE[metric] and "chance is" in other.sentence


def test_a_label_of_few_pictures_gives_them_all_away():
    labels = [i // 2 for i in range(100)]
    run = run_of({"m": {"rank_5": some(99)}}, link={"label": labels}, threat=SERVER, chance=CHANCE)
    assert [rate.chance for rate in rates(run)] == [1.0] and identity(run, NAME) is None
    uneven = [0] * 50 + list(range(1, 51))
    run = run_of({"m": {"rank_1": some(51)}}, link={"label": uneven}, threat=SERVER, chance=CHANCE)
    assert identity(run, NAME).chance == pytest.approx((50 * (1 / 50) + 50) / 100)
    large = {**CHANCE, "rank_1": 0.9}
    assert identity(run_of({"m": {"rank_1": some(51)}}, link={"label": uneven}, threat=SERVER, chance=large), NAME
                    ).chance == 0.9  # fmt: skip


def test_the_first_repeat_counts_and_headings_say_what_was_right():
    run = run_of({"reader": {"label_correct": [some(50), some(99)]}}, threat=EVE, chance=CHANCE)
    (rate,) = rates(run)
    assert rate.rate.estimate == 0.5 and rate.rate.n == 100 and not rate.above
    assert by_policy(run) == {NAME: {"label read (reader)": rate}}


def test_bits_of_traffic_are_corrected_for_the_policies():
    labels, counts = [i % 2 for i in range(100)], [(i % 2 if i % 3 else 1 - i % 2) for i in range(100)]
    runs = [run_of({"traffic": {"label_correct": some(50)}}, policy=p, link={"label": labels, "tokens": t})
            for p, t in (("a", counts), ("b", [16] * 100))]  # fmt: skip
    alone, both = label_bits(runs[0])["a"], label_bits(together(*runs))
    assert both["a"].p_value == pytest.approx(min(1, 2 * alone.p_value)) and set(both) == {"a", "b"}
    pictures = [run_of({"traffic": {"label_correct": [1] * n}}) for n in (1, 2)]
    assert label_bits(pictures[0]) == {} and set(label_bits(pictures[1])) == {NAME}
