"""The table of splits has every cell that is finished, in either order of tokens."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from atm.errors import AtmError
from benchmarks import splits
from reports.run import Run
from tests.audit.conftest import pictures, victim  # noqa: F401


def printed(monkeypatch, capsys, *words):
    monkeypatch.setattr("sys.argv", ["benchmarks.splits", *map(str, words)])
    splits.main()
    return capsys.readouterr().out


@pytest.fixture
def words(victim, pictures, tmp_path):  # noqa: F811
    return [
        "--victim", victim, "--data", pictures, "--images", 4, "--auxiliary", 60, "--exits", 1, 2, "--saves", 0, 0.3,
        "--attack", "ridge", "position", "--threat", "server", "server-shuffled", "--out", tmp_path / "kept",
        "--leakage-only",
    ]  # fmt: skip


def test_both_orders_share_policies_and_what_is_finished_is_read_again(words, monkeypatch, capsys):
    made = [json.loads(line) for line in printed(monkeypatch, capsys, *words, "--json").splitlines()]
    worst = [row for row in made if row["attack"] == "worst case"]
    assert [(row["order"], row["exit_layer"], row["saves"]) for row in worst] == [
        (order, layer, part) for order in ("known", "hidden") for layer in (1, 2) for part in (0.0, 0.3)
    ]
    assert all(math.isnan(row["correct"]) and row["ssim_low"] <= row["ssim"] <= row["ssim_high"] for row in worst)
    assert all(row["blind"] < row["ssim"] for row in worst)
    sent = {(row["order"], row["policy"]): row["tokens"] for row in worst}
    assert all(sent["known", name] == tokens for (_, name), tokens in sent.items())
    assert sent["known", "saves-30-exit-2"] < sent["known", "saves-0-exit-2"]
    placed = [row for row in made if row["attack"] == "position"]
    assert len(placed) == 8 and all(0 <= row["placed_blindly"] <= 1 and 0 <= row["placed"] <= 1 for row in placed)

    monkeypatch.setattr(splits, "measured", lambda *asked: pytest.fail("nothing is to be measured"))
    again = printed(monkeypatch, capsys, *words, "--json", "--finished")
    assert [json.loads(line)["ssim"] for line in again.splitlines()] == [row["ssim"] for row in made]
    part = ["--exits", 2, "--saves", 0.3, "--victim", "other"]
    again = printed(monkeypatch, capsys, *words, "--json", "--finished", *part)
    one = [json.loads(line) for line in again.splitlines()]
    assert one == [row for row in made if row["policy"] == "saves-30-exit-2"]
    with pytest.raises(AtmError, match="calibrated for another victim"):
        printed(monkeypatch, capsys, *words, "--victim", "other")
    table = printed(monkeypatch, capsys, *words, "--finished").splitlines()
    assert len(table) == 2 + len(worst) and " nan" not in "".join(table)

    run = Run.read(words[words.index("--out") + 1] / "server")
    cells = {row["policy"]: (row["saves"], row["exit_layer"]) for row in worst}
    one = (run.scores.policy == "saves-30-exit-2") & (run.scores.attack == "ridge")
    rest = list(splits.rows(cells, replace(run, scores=run.scores[~one])))
    whole = [row for row in made if row["order"] == "known" and row["policy"] != "saves-30-exit-2"]
    assert [(row["policy"], row["attack"]) for row in rest] == [(row["policy"], row["attack"]) for row in whole], (
        "a cell of which one attack is not finished is left out, and the others are not"
    )
