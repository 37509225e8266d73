"""A recogniser's word adds to what SSIM says and takes nothing away; one that finds what tells nothing is not heard."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports.card import Card
from reports.harm import SEEN, SENT, UNSENT, areas, rates
from reports.html import write_report
from reports.leaderboard import leaderboard
from reports.level import GRAVEST_FIRST
from reports.recognition import LIKENESS, PICKED, PLACE, evidence, picked, vouches
from reports.verdict import judge
from tests.reports.scores import NAME, run_of
from tests.reports.test_report import make_run

WHO = {"recogniser": {"name": "clip", "digest": "9"}}
COUNT = 100


def scored(ssim: float | list[float], picked: int = 0, **more: object) -> dict[str, object]:
    hits = np.arange(COUNT) < picked
    return {"ssim": np.full(COUNT, ssim), PICKED: hits, PLACE: np.where(hits, 1, 7), LIKENESS: hits * 0.5, **more}


def made(rebuilt: dict[str, dict[str, object]], **about: object):
    return run_of({"mean_image": scored(0.1), "random_image": scored(0.05), **rebuilt}, **{**WHO, **about})


def test_pictures_that_ssim_does_not_know_are_recognised_by_whom_picks_them_out():
    leak = judge(made({"ridge": scored(0.3, 80)}), NAME)
    assert leak.level == "leaks" and leak.recognisable.estimate == 0.8
    assert (
        "without the tokens: 0; or picked out of 100 without their colours by the recogniser clip: 80;" in leak.sentence
    )
    assert judge(made({"ridge": scored(0.3, 20)}), NAME).level == "leaks in part"
    one = judge(made({"ridge": scored(0.3, 1)}), NAME)
    assert one.level == "inconclusive", "a single one that counts is unexplained"
    assert judge(made({"ridge": scored(0.3, 0)}), NAME).level == "no leak found"


def test_both_kinds_of_evidence_are_counted_once():
    ssim = np.where(np.arange(COUNT) < 70, 0.3, 0.6)
    found = evidence(made({"ridge": scored(0.3, 60) | {"ssim": ssim}}), NAME)
    shares = found.by_score.estimate, found.by_recogniser.estimate, found.by_either.estimate, found.first.estimate
    assert shares == (0.3, 0.6, 0.9, 0.6) and found.vouches
    assert {name: share.estimate for name, share in found.blind.items()} == {"mean_image": 0, "random_image": 0}
    other = evidence(made({"ridge": scored(0.3, 60), "decoder": scored(0.3, 40)}), NAME)
    assert other.by_recogniser.estimate == 0.6 and other.first.estimate == 0.6


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=COUNT, max_size=COUNT), st.integers(0, 5))
def test_no_verdict_is_softer_for_a_recogniser(pictures, blindly):
    ssim, hits = (np.array(each, dtype=float) for each in zip(*pictures, strict=True))
    rebuilt = {"ridge": scored(0.0) | {"ssim": ssim, PICKED: hits}}
    blind = {"mean_image": scored(0.1, blindly), "random_image": scored(0.05, blindly)}
    looked, alone = (judge(run_of({**blind, **rebuilt}, **about), NAME) for about in (WHO, {}))
    assert GRAVEST_FIRST.index(looked.level) <= GRAVEST_FIRST.index(alone.level)
    assert looked.recognisable.estimate >= alone.recognisable.estimate


def test_a_recogniser_that_finds_what_reads_no_token_is_not_heard():
    run = run_of({"mean_image": scored(0.1), "random_image": scored(0.05, 9), "ridge": scored(0.3, 80)}, **WHO)
    assert not vouches(run, NAME) and not picked(run, NAME).any()
    verdict = judge(run, NAME)
    assert verdict.recognisable.estimate == 0 and "was not heard" in verdict.sentence
    assert verdict.level == "inconclusive"
    assert judge(run_of({"mean_image": scored(0.1), "ridge": scored(0.3)}), NAME).level == "no leak found"


@pytest.mark.parametrize(("blindly", "level"), [(2, "leaks"), (3, "inconclusive")])
def test_three_chance_finds_do_not_turn_a_leak_into_none(blindly, level):
    """At 100 pictures three of a baseline are more than chance, and the 100 of an attack no longer count."""
    run = run_of({"mean_image": scored(0.1), "random_image": scored(0.05, blindly), "ridge": scored(0.3, 100)}, **WHO)
    verdict = judge(run, NAME)
    assert verdict.level == level
    assert [flag.name for flag in verdict.flags] == ["recogniser not heard"] * (blindly == 3)


def test_neither_blind_baselines_nor_retrieval_are_heard():
    run = made({"nearest": scored(0.3, 90), "ridge": scored(0.3, 0)})
    assert not picked(run, NAME).any() and evidence(run, NAME).first.estimate == 0


def test_without_a_recogniser_nothing_is_said_of_one():
    run = run_of({"mean_image": {"ssim": [0.1] * COUNT}, "ridge": {"ssim": [0.3] * COUNT}})
    assert evidence(run, NAME) is None and not picked(run, NAME).any()
    assert "recogniser" not in judge(run, NAME).sentence


def test_too_few_pictures_to_tell_apart_are_said_to_be():
    few = {
        a: {m: np.asarray(v)[:10] for m, v in s.items()}
        for a, s in {"mean_image": scored(0.1), "ridge": scored(0.3)}.items()
    }
    assert "10 pictures are too few for the recogniser clip" in judge(run_of(few, **WHO), NAME).sentence


def test_repeats_are_picked_out_each_for_itself():
    tables = {m: np.stack([np.asarray(v), np.asarray(v)]) for m, v in scored(0.3).items()}
    tables[PICKED] = np.stack([np.arange(COUNT) < 10, np.arange(COUNT) < 30])
    found = picked(made({"ridge": tables, "mean_image": {m: np.stack([v, v]) for m, v in scored(0.1).items()}}), NAME)
    assert found.sum(1).tolist() == [10, 30]


def labelled(seen: int, best: float = 0.3, read: int | None = None, **about: object):
    link = {"label": np.arange(COUNT) % 4, "correct": 0}
    right = {SEEN: np.arange(COUNT) < seen}
    rebuilt = {"ridge": scored(best, **right), "decoder": scored(0.2, **{SEEN: np.zeros(COUNT)})}
    chance = {"label_correct": 0.25, "rank_1": 0.01, "rank_5": 0.05}
    if read is not None:
        rebuilt["identify"] = {"label_correct": np.arange(COUNT) < read}
    return made(rebuilt, link=link, chance=chance, threat={"name": "eve", "tap": "eavesdropper"}, **about)


def test_the_label_that_a_recogniser_sees_is_a_finding_of_the_best_attack():
    found = {r.metric: r for r in rates(labelled(90))}
    assert found[SEEN].rate.estimate == 0.9 and found[SEEN].inference == "clip" and found[SEEN].above
    verdict = {f.about: f for f in judge(labelled(90), NAME).findings}["label"]
    assert verdict.level == "leaks" and "clip: label seen" in verdict.sentence
    assert rates(labelled(90, best=0.15))[0].rate.estimate == 0, "by leakage, not by who is right"


def test_a_recogniser_that_sees_no_label_says_nothing_of_what_tokens_tell():
    def finding(*hits: int, **more: int):
        return {f.about: f for f in judge(labelled(*hits, **more), NAME).findings}.get("label")

    assert finding(24) is None and finding(90).level == "leaks"
    for seen in (24, 0):
        harmless = finding(seen, read=25)
        assert harmless.level == "no leak found" and "identify: label read" in harmless.sentence
        assert finding(seen, read=90).level == "leaks"
    assert finding(90, read=25).level == "leaks" and "clip: label seen" in finding(90, read=25).sentence


@pytest.mark.parametrize("kind", ["image", "asked-image"])
def test_a_page_about_pictures_of_any_kind_says_that_a_recogniser_could_look(tmp_path, kind):
    make_run(tmp_path / "run", {"mean_image": [0.1] * 3, "ridge": [0.9] * 3}, signal=kind)
    assert "lets a pretrained model look" in write_report(tmp_path / "run").read_text(encoding="utf-8")


def test_what_a_recogniser_sees_makes_nothing_else_less_sure():
    right = {"identify": {"rank_1": np.arange(COUNT) < 4}}
    alone, both = (
        {
            r.metric: r.p_value
            for r in rates(
                run_of({**scores, **right}, chance={"rank_1": 0.01, "label_correct": 0.25}, task=None, **WHO)
            )
        }
        for scores in ({"ridge": scored(0.3)}, {"ridge": scored(0.3, **{SEEN: np.zeros(COUNT)})})
    )
    assert alone["rank_1"] == both["rank_1"] and SEEN in both and SEEN not in alone


@pytest.mark.parametrize(("strength", "level"), [(50.0, "leaks"), (0.0, "no leak found")])
def test_membership_is_a_finding(strength, level):
    random = np.random.default_rng(0)
    sent, unsent = random.normal(size=(2, COUNT))
    told = {"identify": {SENT: sent + strength, UNSENT: unsent}}
    run = made({"ridge": scored(0.3), **told}, chance={})
    finding = {f.about: f for f in judge(run, NAME).findings}["membership"]
    assert finding.level == level and finding.chance == 0.01
    assert (finding.rate.estimate == 1) == (strength > 0)
    area = areas(run)[NAME]["identify"]
    assert area.estimate == 1 if strength else area.low < 0.5 < area.high


def test_a_card_and_the_board_say_who_looked_as_well(tmp_path):
    scores = {"mean_image": [0.1] * 3, "ridge": [0.9] * 3}
    for name, about in (("alone", {}), ("looked", WHO)):
        make_run(tmp_path / name, scores, **about)
        write_report(tmp_path / name)
    rows = {row.card.recogniser: row.cells()["recognised"] for row in leaderboard([tmp_path])}
    assert rows == {None: "3 of 3", "clip": "3 of 3 (also by clip)"}
    assert Card.read(tmp_path / "looked" / "card.json").recogniser == "clip"
