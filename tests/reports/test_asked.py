"""Questions and membership are judged by tests of their own, and only where something was tested."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from privacy_metrics.significance import holm, paired_p_value
from reports.findings import membership, questions
from reports.harm import SENT, UNSENT, rates
from tests.reports.scores import NAME, run_of

EVE = {"name": "eve", "tap": "eavesdropper"}
CHANCE = {"label_correct": 0.25, "rank_1": 0.01, "rank_5": 0.05}


def asked(hits, blind, metric="answer_correct", more=None, **about):
    scores = {"asker": {metric: hits, f"{metric}_blindly": blind}, **(more or {})}
    return run_of(scores, **{"threat": EVE, "chance": CHANCE, **about})


def some(hits: int, n: int = 100) -> np.ndarray:
    return (np.arange(n) < hits).astype(float)


def test_where_no_picture_can_be_scored_there_is_no_finding():
    nothing = np.full(120, np.nan)
    run = asked(nothing, nothing, "caption_correct")
    assert rates(run) == [] and questions(run, NAME) is None


def test_only_pictures_with_a_score_count():
    hits, blind = some(90, 200), np.full(200, 0.1)
    hits[100:] = blind[100:] = np.nan
    (rate,) = rates(asked(hits, blind, "caption_correct"))
    assert rate.rate.n == 100 and rate.rate.estimate == 0.9 and rate.chance == pytest.approx(0.1)
    assert "of the 100 pictures" in questions(asked(hits, blind, "caption_correct"), NAME).sentence


@pytest.mark.parametrize("metric", ["answer_correct", "caption_correct"])
@pytest.mark.parametrize(
    ("right", "guessed", "level"),
    [(57, 71, "inconclusive"), (20, 20, "inconclusive"), (0, 0, "inconclusive"), (21, 20, "no leak found")],
)
def test_no_better_than_a_measured_guess_is_never_harmless(metric, right, guessed, level):
    assert questions(asked(some(right), some(guessed)[::-1], metric), NAME).level == level


@pytest.mark.parametrize(("more", "less"), [(0, 0), (8, 0), (12, 4), (0, 6), (30, 20)])
def test_answers_are_counted_where_they_and_the_guess_differ(more, less):
    hits, blind = some(60), some(60)
    hits[60 : 60 + more], hits[:less] = 1, 0
    (rate,) = rates(asked(hits, blind))
    expected = binomtest(more, more + less, 0.5, alternative="greater").pvalue if more + less else 1.0
    assert rate.p_value == pytest.approx(expected) and rate.chance == pytest.approx(0.6)


def test_captions_are_compared_picture_by_picture_and_few_alike_are_not_sure():
    hits = some(10)
    (rate,) = rates(asked(hits, np.roll(some(100), 3) * 0.05, "caption_correct"))
    sure = binomtest(10, 100, 0.05, alternative="greater").pvalue
    assert rate.p_value == pytest.approx(max(sure, paired_p_value(hits, np.full(100, 0.05))))
    (rate,) = rates(asked(some(1), np.zeros(100), "caption_correct"))
    assert rate.p_value > 0.1, "one picture, though no other caption names it"
    (rate,) = rates(asked(some(3, 3), np.full(3, 0.9), "caption_correct"))
    assert rate.p_value == pytest.approx(0.9**3), "all alike"
    (rate,) = rates(asked(some(1, 1), np.zeros(1), "caption_correct"))
    assert not rate.above


def test_the_guess_of_the_same_repeat_counts():
    run = asked([some(60), some(60)], [some(50), some(90)])
    assert rates(run)[0].chance == pytest.approx(0.5)


def test_each_subject_is_corrected_for_itself():
    random = np.random.default_rng(0)
    sent, unsent = random.normal(size=(2, 100))
    identify = {"label_correct": some(34), "rank_1": some(4)}
    known = {SENT: sent + 0.4, UNSENT: unsent}

    def p_values(**scores):
        return {r.metric: r.p_value for r in rates(run_of(scores, threat=EVE, chance=CHANCE))}

    answers = {"answer_correct": some(60), "answer_correct_blindly": some(50)}
    captions = {"caption_correct": some(15), "caption_correct_blindly": np.full(100, 0.08)}
    alone = [p_values(identify=identify), p_values(identify=known), p_values(ask=answers, describe=captions)]
    together = p_values(identify={**identify, **known}, ask=answers, describe=captions)
    assert together == {**alone[0], **alone[1], **alone[2]} and len(together) == 5
    each = [p_values(ask=answers)["answer_correct"], p_values(describe=captions)["caption_correct"]]
    assert [together["answer_correct"], together["caption_correct"]] == pytest.approx(holm(each))


@pytest.mark.parametrize("threat", [EVE, {"name": "server", "tap": "server"}])
def test_false_alarms_are_said_to_be_what_they_are(threat):
    random = np.random.default_rng(0)
    sent, unsent = random.normal(size=(2, 100))
    found = membership(run_of({"identify": {SENT: sent, UNSENT: unsent}}, threat=threat, chance={}), NAME)
    assert found.sentence.endswith("; 1% are false alarms by definition.") and "leads to" not in found.sentence
