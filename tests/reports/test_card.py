"""Cards and the leaderboard: what a run says survives, and nothing in a stranger's card is trusted."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atm.errors import AtmError
from reports.card import FILE, Card, PolicyCard
from reports.export import finite, of_run, safe
from reports.html import write_report
from reports.judged import Judged
from reports.leaderboard import leaderboard, records, render, warnings
from reports.level import GRAVEST_FIRST
from tests.reports.test_report import EVIL, make_run

LEAK = {"mean_image": [0.1] * 30, "ridge": [0.9] * 15 + [0.3] * 15}
QUIET = {"mean_image": [0.1] * 30, "ridge": [0.2] * 30}


@pytest.fixture
def content(tmp_path):
    run = make_run(tmp_path / "made", LEAK)
    return json.loads(Card.of(Judged.of(run)).text())


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def test_the_card_is_written_with_the_page_and_says_what_the_verdict_says(tmp_path):
    run = make_run(tmp_path, LEAK)
    write_report(tmp_path)
    card, verdict = Card.read(tmp_path / FILE), Judged.of(run).verdicts[0]
    (policy,) = card.policies
    assert (policy.policy, policy.verdict, policy.deploy) == ("none", verdict.level, "no")
    assert policy.leakage.interval == verdict.leakage and policy.recognised.interval == verdict.recognisable
    assert (policy.recognised.estimate, policy.recognised.n) == (0.5, 30)
    assert (policy.accuracy, policy.tokens, policy.symbols) == (1.0, 65.0, 660.0)
    assert policy.flags == ["too few images"] == [f.name for f in verdict.flags]
    assert (card.threat.in_words, card.victim.digest, card.data.digest) == ("She knows.", "0", "1")
    assert (card.seed, card.versions, card.finished) == (0, {"python": "3"}, True)


def test_the_words_of_a_verdict_are_those_of_the_judge():
    assert set(PolicyCard.model_fields["verdict"].annotation.__args__) == set(GRAVEST_FIRST)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.update(card=2), "card"),
        (lambda c: c.update(extra=1), "unknown field 'extra'"),
        (lambda c: c.pop("victim"), "needs a field 'victim'"),
        (lambda c: c.update(policies=[]), "policies"),
        (lambda c: c.update(seed="0"), "expected a whole number"),
        (lambda c: c["policies"][0].update(verdict="private"), "policies[0][verdict]"),
        (lambda c: c["policies"][0].update(accuracy=1.5), "policies[0][accuracy]"),
        (lambda c: c["policies"][0].update(gflops=-1.0), "policies[0][gflops]"),
        (lambda c: c["policies"][0].update(tokens=float("inf")), "policies[0][tokens]"),
        (lambda c: c["policies"][0]["leakage"].update(estimate=float("nan")), "policies[0][leakage]"),
        (lambda c: c["policies"][0]["leakage"].update(low=0.9, high=0.1), "low not above high"),
        (lambda c: c["policies"][0]["leakage"].update(low=None), "neither"),
        (lambda c: c["policies"][0]["recognised"].update(n=0), "policies[0][recognised][n]"),
        (lambda c: c["policies"][0].update(policy="x" * 2000), "policies[0][policy]"),
        (lambda c: c["victim"].update(name=7), "victim[name]"),
    ],
)
def test_a_bad_card_is_one_line_with_its_place(tmp_path, content, change, said):
    change(content)
    with pytest.raises(AtmError) as caught:
        Card.read(put(tmp_path / "bad.json", content))
    assert said in str(caught.value) and "bad.json" in str(caught.value) and "\n" not in str(caught.value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)
    )
)
def test_whatever_stands_in_a_file_is_one_line(tmp_path_factory, content):
    path = put(tmp_path_factory.mktemp("any") / "c.json", content)
    with pytest.raises(AtmError) as caught:
        leaderboard([path])
    assert len(str(caught.value).splitlines()) == 1


def test_the_least_leakage_comes_first_wherever_cards_are(tmp_path, content):
    make_run(tmp_path / "runs/quiet", QUIET)  # a run without a card
    make_run(tmp_path / "runs/loud", LEAK)
    write_report(tmp_path / "runs/loud")
    (tmp_path / "runs/other").mkdir()
    rows = leaderboard([tmp_path / "runs", tmp_path / "runs/loud", put(tmp_path / "own.json", content)])
    assert [round(row.result.leakage.estimate, 3) for row in rows] == [0.2, 0.6, 0.6]
    assert rows[1].cells()["recognised"] == "15 of 30" and rows[0].cells()["threat model"] == "server"
    assert warnings(rows) == []
    assert records(rows)[0]["source"] == str(tmp_path / "runs/quiet")
    assert all({"verdict", "leakage", "threat", "victim"} <= record.keys() for record in records(rows))


def test_what_cannot_be_compared_is_said(tmp_path, content):
    one = put(tmp_path / "a.json", content)
    content["victim"]["digest"], content["threat"]["name"] = "other", "stranger"
    (line,) = warnings(leaderboard([one, put(tmp_path / "b.json", content)]))
    assert line.endswith("here are 2 victims, 2 threat models.")


@pytest.mark.parametrize("place", ["nothing", "empty", "sweep"])
def test_a_place_without_a_card_is_named(tmp_path, place):
    (tmp_path / "empty").mkdir()
    put(tmp_path / "sweep/sweep.json", {})
    with pytest.raises(AtmError, match=place):
        leaderboard([tmp_path / place])


def test_names_from_cards_are_escaped_in_the_page(tmp_path, content):
    content["policies"][0]["policy"] = content["victim"]["name"] = content["threat"]["in_words"] = EVIL
    content["data"]["name"] = content["channel"] = content["defence"] = content["created"] = EVIL
    content["threat"]["name"] = content["policies"][0]["flags"][0] = content["attacks"][0] = EVIL
    text = render(leaderboard([put(tmp_path / "evil.json", content)]))
    assert EVIL not in text and text.count("&lt;script&gt;") >= 6


def test_the_other_formats(tmp_path):
    run = make_run(tmp_path, LEAK, threat_in_words="a|b *c* \x1b[31m")
    export = of_run(Judged.of(run))
    text = export.markdown()
    assert r"a\|b \*c\* \\x1b\[31m" in text and "\x1b" not in text
    head, rule, row = text.splitlines()[2:5]
    assert head.count("|") == rule.count("|") == row.count("|") == 11 and "15 of 30" in row
    header, line = export.csv().splitlines()
    cells = dict(zip(header.split(","), line.split(","), strict=True))
    assert float(cells["leakage"]) == pytest.approx(0.6) and cells["verdict"] == "leaks in part"
    assert Card.model_validate_json(export.json()) == Card.of(Judged.of(run))
    assert safe("<img>") == r"\<img\>"
    assert finite({"a": [math.nan, 1.0, (math.inf, "b")], "c": None}) == {"a": [None, 1.0, [None, "b"]], "c": None}


def test_what_is_said_of_several_policies_is_written_once(tmp_path):
    one = make_run(tmp_path, {"mean_image": [0.1] * 30, "ridge": [0.3] * 30})
    scores, link = (pd.concat([table, table.assign(policy="other")]) for table in (one.scores, one.link))
    policies = [*one.about["policies"], {**one.about["policies"][0], "name": "other"}]
    run = replace(one, scores=scores, link=link, about={**one.about, "policies": policies})
    lines = of_run(Judged.of(run)).lines
    assert (
        "flag too few images, none, other: only 30 pictures were attacked; a claim about privacy needs at least 100. "
        "Attack more: `--images 100` or above."
    ) in lines
    (decided,) = [line for line in lines if "deploy?" in line]
    assert decided.startswith("none, other: deploy? not shown: pixels: Nothing can be concluded: 0 of 30 pictures")
    assert sum("Nothing can be concluded" in line for line in lines) == 1


def test_a_page_without_its_pictures_says_so(tmp_path):
    make_run(tmp_path, LEAK)
    shutil.rmtree(tmp_path / "images")
    page = write_report(tmp_path).read_text()
    assert "missing" in page and 'src=""' not in page
