"""May it be deployed? Yes only where everything that was asked for surely holds."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atm.errors import AtmError
from atm.policy import MergePolicy
from privacy_metrics.statistics import Interval
from reports.acceptance import NO, NOT_SHOWN, QUANTITIES, YES, Criterion, decide, instead
from reports.html import render
from reports.judged import Judged
from reports.verdict import judge
from tests.reports.test_report import make_run

HARMLESS = [0.1 + 0.001 * i for i in range(120)]
BLIND = [v - 0.05 for v in HARMLESS]
SHARES = st.floats(0, 1)


def parsed(*texts: str) -> list[Criterion]:
    return [Criterion.parse(text) for text in texts]


@pytest.fixture
def harmless(tmp_path):
    return judge(make_run(tmp_path, {"mean_image": BLIND, "ridge": HARMLESS}), "none")


@pytest.fixture
def leaking(tmp_path):
    scores = {"mean_image": [0.1] * 120, "ridge": [0.7] * 12 + [0.3] * 108}
    return judge(make_run(tmp_path, scores), "none")


@given(SHARES, SHARES, SHARES, st.sampled_from(["<=", ">="]))
def test_yes_and_no_need_the_whole_interval(a, b, bound, sign):
    low, high = sorted((a, b))
    answer = parsed(f"leakage{sign}{bound!r}")[0].answer(Interval((low + high) / 2, low, high, 100))
    holds = [(value <= bound if sign == "<=" else value >= bound) for value in (low, high)]
    assert answer == (YES if all(holds) else NOT_SHOWN if any(holds) else NO)


def test_an_interval_without_ends_shows_nothing():
    assert parsed("leakage<=0.5")[0].answer(Interval(0.1, math.nan, math.nan, 1)) == NOT_SHOWN


@pytest.mark.parametrize(
    "text", ["", "leakage", "leakage<0.5", "leakage==1", "leakage<=", "leakage<=x", "leakage<=1e999", "<=5%"]
)
def test_criteria_that_are_none_are_refused(text):
    with pytest.raises(AtmError, match="not of the form"):
        Criterion.parse(text)


def test_criteria_are_percentages_or_numbers_of_known_quantities():
    five = Criterion.parse(" recognised <= 5% ")
    assert five == Criterion("recognised", True, 0.05, "recognised<=5%")
    assert Criterion.parse("accuracy>=0.9").bound == 0.9
    with pytest.raises(AtmError, match="did you mean 'leakage'"):
        Criterion.parse("leakag<=1")


def test_without_criteria_the_verdict_decides(harmless, leaking):
    assert decide(harmless).answer == YES
    denied = decide(leaking)
    assert denied.answer == NO and "12 of 120 pictures" in denied.reason


@pytest.mark.parametrize(
    ("criteria", "answer", "because"),
    [
        (["recognised<=5%"], NO, "recognised is 0.1 "),
        (["recognised<=10%"], NOT_SHOWN, "recognised<=10%"),
        (["recognised<=20%"], YES, "recognised is 0.1 "),
        (["recognised<=20%", "leakage<=0.2"], NO, "leakage is 0.34"),
        (["recognised<=10%", "leakage<=0.2"], NO, "leakage is 0.34"),
        (["recognised<=20%", "identity<=0.5"], NOT_SHOWN, "identity was not measured"),
        (["maximum<=0.9", "accuracy>=0.5", "tokens<=65"], YES, "tokens is 65"),
        (["accuracy>=0.99"], NOT_SHOWN, "accuracy is 1 [0.969, 1]"),  # 120 of 120 are right
    ],
)
def test_the_gravest_criterion_gives_the_answer_and_the_reason(leaking, criteria, answer, because):
    decision = decide(leaking, parsed(*criteria))
    assert decision.answer == answer and because in decision.reason


def test_a_flag_takes_a_yes_back(tmp_path):
    few = judge(make_run(tmp_path, {"mean_image": BLIND[:99], "ridge": HARMLESS[:99]}), "none")
    for criteria in ([], parsed("recognised<=50%")):
        decision = decide(few, criteria)
        assert decision.answer == NOT_SHOWN and "99" in decision.reason


def test_every_quantity_has_a_value_or_is_said_to_be_unmeasured(leaking):
    for quantity in QUANTITIES:
        assert decide(leaking, parsed(f"{quantity}<=1000000")).answer in (YES, NOT_SHOWN)


def test_what_to_do_instead(harmless, leaking, tmp_path):
    verdicts = [leaking, harmless]
    assert instead(verdicts, [decide(v) for v in verdicts]) == "Deploy the policy “none”."
    assert "add a defence" in instead([leaking], [decide(leaking)])
    few = judge(make_run(tmp_path / "few", {"mean_image": BLIND[:9], "ridge": HARMLESS[:9]}), "none")
    assert "yet" in instead([few], [decide(few)])


def advice(run):
    return Judged.of(run).advice


def test_an_unfinished_run_is_gone_on_with_before_anything_else(tmp_path):
    few = {"mean_image": BLIND[:9], "ridge": HARMLESS[:9]}
    assert "--images" in advice(make_run(tmp_path / "few", few))
    resume = "This run is unfinished: go on with the same command and --resume. "
    assert (
        advice(make_run(tmp_path / "a", few, attacks=[*few, "decoder"])) == f"{resume}Deploy no policy of this run yet."
    )
    policies = [MergePolicy.uniform(1.0, 3, name=name).as_dict() for name in ("none", "not begun")]
    leaking = {"mean_image": [0.1] * 120, "ridge": [0.9] * 120}
    assert advice(make_run(tmp_path / "b", leaking, policies=policies)).startswith(
        f"{resume}Deploy no policy of this run: "
    )


def test_attacks_that_the_time_cut_get_more_of_it_first(tmp_path):
    cut = {"policy": "none", "attack": "ridge", "repeat": 0, "train": [1.0] * 20, "gradient": [1.0] * 20,
           "validation": [], "best_step": None, "cut": True}  # fmt: skip
    few = {"mean_image": BLIND[:9], "ridge": HARMLESS[:9]}
    assert "a larger --budget" in advice(make_run(tmp_path, few, history=[cut], config={"seed": 0, "quick": True}))


def test_advice_is_about_policies_that_are_not_settled(tmp_path):
    few = {"mean_image": [0.1] * 30, "ridge": [0.9] * 30}
    leaks = judge(make_run(tmp_path / "leaks", few), "none")
    harmless = {"mean_image": BLIND, "ridge": HARMLESS}
    quick = judge(make_run(tmp_path / "quick", harmless, config={"seed": 0, "quick": True}), "none")
    assert leaks.flags and instead([leaks, quick], [decide(leaks), decide(quick)]).endswith("Drop --quick.")


@pytest.mark.parametrize(("exit_layer", "later"), [(None, False), (3, False), (2, True)])
def test_a_later_layer_is_advised_only_where_there_is_one(tmp_path, exit_layer, later):
    policy = MergePolicy.uniform(1.0, 3, exit_layer=exit_layer).as_dict() | {"name": "none"}
    leaking = judge(make_run(tmp_path, {"mean_image": [0.1] * 120, "ridge": [0.9] * 120}, policies=[policy]), "none")
    assert ("later layer" in instead([leaking], [decide(leaking)])) == later


def test_the_page_begins_with_the_answer(tmp_path):
    page = render(
        Judged.of(
            make_run(
                tmp_path, {"mean_image": BLIND, "ridge": HARMLESS}, config={"seed": 0, "accept": ["leakage<=0.05"]}
            )
        )
    )
    box = page[page.index('<h2 id="may-this-be-deployed">') : page.index('<h2 id="verdict">')]
    assert ">no</span>" in box and "leakage&lt;=0.05" in box


def test_reasons_are_numbers_as_people_write_them(harmless):
    reason = decide(harmless, parsed("symbols<=1", "gflops<=1")).reason
    assert "symbols is 660 [660, 660]" in reason
    assert "symbols is 12345" in decide_symbols(harmless, 12345.0)


def decide_symbols(verdict, symbols):
    verdict.run.link["symbols"] = symbols
    return decide(verdict, parsed("symbols<=1")).reason
