"""Tables in a terminal of any width."""

from __future__ import annotations

import pytest

from audit.options import out
from audit.showing import EXPENDABLE, show_table
from audit.summary import show_judged
from reports.export import of_run
from reports.judged import Judged
from tests.reports.test_report import make_run

HEADINGS = ("policy", "verdict", "symbols", "leakage (SSIM)", "flags")
ROW = ("an-unusually-long-name", "inconclusive", "123,456", "0.481 [0.455, 0.507]", "seventeen")


@pytest.mark.parametrize("width", [200, 75, 56, 30])
def test_a_narrow_terminal_loses_columns_and_no_word_is_cut(width, monkeypatch, capsys):
    monkeypatch.setattr(out, "_width", width)
    show_table("Leakage", HEADINGS, [ROW])
    printed = capsys.readouterr().out
    table, _, left_out = printed.partition("not shown for want of room: ")
    assert (width == 200) <= (not left_out)
    for heading, cell in zip(HEADINGS, ROW, strict=True):
        gone = left_out.strip().split(", ")
        assert (heading in gone) <= (heading in EXPENDABLE)
        if heading not in gone and width > 30:  # where even the necessary does not fit, a terminal must cut
            assert all(word in table for word in cell.split()), printed


def test_names_from_files_do_not_reach_the_terminal_as_they_are(monkeypatch, capsys):
    monkeypatch.setattr(out, "_width", 100)
    show_table("[red]x", ["policy"], [["[bold]\x1b]0;title\x07"]])
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and "[red]x" in printed and "[bold]\\x1b]0;title" in printed


@pytest.mark.parametrize("task", ["accuracy", None])
def test_a_runs_table_has_what_is_reached_without_the_tokens_and_no_empty_column(task, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(out, "_width", 160)
    run = make_run(tmp_path, {"mean_image": [0.123] * 9, "best_constant": [0.1] * 9, "ridge": [0.4] * 9}, task=task)
    show_judged(Judged.of(run), tmp_path / "report.html", False)
    printed = capsys.readouterr().out
    table = printed[: printed.index("blind: what is reached without the tokens")]
    assert "blind" in table and "0.123" in table and ("accuracy" in table) == (task is not None)
    assert printed.count("no task") == (task is None) and "no task" not in table
    written = of_run(Judged.of(run)).markdown()
    assert written.count("no task") == (task is None) and ("| accuracy |" in written) == (task is not None)
    only = make_run(tmp_path, {"ridge": [0.4] * 9})
    assert Judged.of(only).verdicts[0].blind is None


def test_a_terminal_has_no_notes_on_scores_that_it_does_not_show(tmp_path, capsys):
    notes = ["DISTS is missing: it needs weights", "An attack was skipped: broken"]
    judged = Judged.of(make_run(tmp_path, {"ridge": [0.4] * 9}, notes=notes))
    show_judged(judged, tmp_path / "report.html", False)
    printed = capsys.readouterr().out
    assert "DISTS" not in printed and "note: An attack was skipped" in printed
    assert "DISTS" in of_run(judged).markdown(), "where its scores are missed"
