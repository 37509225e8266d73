"""``atm report`` of every kind of folder in every format, and ``atm leaderboard``."""

from __future__ import annotations

import json

import pytest

from reports.card import Card
from tests.reports.pages import attack, compare, sweep
from tests.reports.test_card import put

MADE = {"attack": attack, "compare": compare, "sweep": sweep}


@pytest.mark.parametrize("kind", MADE)
def test_every_kind_is_drawn_again_in_every_format(atm, tmp_path, kind):
    page = MADE[kind](tmp_path / kind)
    page.unlink()
    code, out, err = atm("report", tmp_path / kind)
    assert code == 0 and str(page) in out and page.exists(), err
    code, out, _ = atm("report", tmp_path / kind, "--format", "md")
    assert code == 0 and out.startswith("# ") and "| --- |" in out
    code, out, _ = atm("report", tmp_path / kind, "--format", "json")
    assert code == 0 and json.loads(out)
    code, _, _ = atm("report", tmp_path / kind, "--format", "csv", "--out", tmp_path / "t.csv")
    assert code == 0 and len((tmp_path / "t.csv").read_text().splitlines()) >= 2
    code, out, _ = atm("report", tmp_path / kind, "--json")
    assert code == 0 and str(page) in json.loads(out).values()
    code, out, _ = atm("report", tmp_path / kind, "--out", tmp_path / "copy.html")
    assert code == 0 and (tmp_path / "copy.html").read_bytes() == page.read_bytes()


def test_the_card_comes_as_json_and_goes_into_a_leaderboard(atm, tmp_path):
    attack(tmp_path / "run")
    code, out, _ = atm("report", tmp_path / "run", "--format", "json")
    assert code == 0 and Card.model_validate_json(out) == Card.read(tmp_path / "run/card.json")
    evil = json.loads(out)
    evil["policies"][0]["policy"], evil["policies"][0]["leakage"] = "[red]\x1b]0;x\x07", {
        "estimate": 0.05, "low": None, "high": None, "n": 1,
    }  # fmt: skip
    card = put(tmp_path / "evil.json", evil)
    code, out, err = atm("leaderboard", tmp_path / "run", card, "--out", tmp_path / "board.html")
    assert code == 0 and "\x1b]" not in out and "[red]\\x1b" in out, err
    assert "no interval" in out and out.index("0.050 [") < out.index("0.650 [")
    assert "<html" in (tmp_path / "board.html").read_text()
    code, out, _ = atm("leaderboard", tmp_path / "run", card, "--json")
    assert json.loads(out)["rows"][0]["leakage"]["estimate"] == 0.05


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("report", "run", "--format", "pdf"), "unknown format 'pdf'"),
        (("report", "run", "--format", "md", "--json"), "leave it out"),
        (("report", "compare", "--accept", "leakage<=1"), "holds a comparison"),
        (("report", "compare", "--against", "run"), "holds a comparison"),
        (("report", "nothing", "--format", "md"), "no run folder"),
        (("leaderboard", "nothing"), "nothing does not exist"),
        (("leaderboard", "compare"), "holds no attack's run"),
        (("leaderboard", "bad.json"), "bad.json"),
    ],
)
def test_bad_input_is_one_line(atm, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    attack(tmp_path / "run")
    compare(tmp_path / "compare")
    put(tmp_path / "bad.json", {"card": 1})
    code, out, err = atm(*words)
    assert code == 2 and said in err and len(err.strip().splitlines()) == 1 and not out


def test_what_cannot_be_written_is_one_line(atm, tmp_path):
    attack(tmp_path / "run")
    for words in (("report", tmp_path / "run", "--format", "md"), ("leaderboard", tmp_path / "run")):
        code, _, err = atm(*words, "--out", tmp_path / "no/such/file")
        assert code == 3 and len(err.strip().splitlines()) == 1
