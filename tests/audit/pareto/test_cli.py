"""``atm search`` and ``atm pick``."""

from __future__ import annotations

import json
import re
import shutil

import pandas as pd
import pytest

from atm.policy import load
from atm.store import RunStore
from atm.weight_files import read_weights, write_weights
from attacks import BASELINES, available
from audit.pareto.outcome import Outcome
from audit.pareto.problem import PolicyProblem
from tests.atm.models import tiny_vit
from tests.audit.conftest import parse


def ask(victim, pictures, out, evals=9, images=16):
    return (
        "search", "--victim", victim, "--data", pictures, "--images", images, "--auxiliary", 60,
        "--evals", evals, "--lowest", 0, "--out", out,
    )  # fmt: skip


@pytest.fixture
def searched(atm, victim, pictures, tmp_path):
    code, out, err = atm(*ask(victim, pictures, tmp_path / "s"), "--no-rescore", "--json")
    assert code == 0, err
    return tmp_path / "s", parse(out)


def test_the_front_comes_as_csv_and_as_policies_ready_for_an_attack(searched):
    folder, found = searched
    table = pd.read_csv(folder / "front.csv")
    assert list(table.policy) == [row["policy"] for row in found["front"]]
    assert {"accuracy", "gflops", "tokens", "leakage", "threshold_0", "threshold_2"} <= set(table.columns)
    for row in found["front"]:
        policy = load(str(folder / "policies" / f"{row['policy']}.yaml"), 3)
        assert list(policy.thresholds) == row["thresholds"] and policy.name == row["policy"]
    assert set(found["recommended"].values()) <= set(table.policy)
    assert set(found["recommended"]) == {"privacy first", "balanced", "efficiency first"}


def test_the_report_is_whole_and_fetches_nothing(searched):
    folder, found = searched
    page = (folder / "report.html").read_text()
    assert page.rstrip().endswith("</html>")
    ours = re.sub(r"<script>.*?</script>", "", page, count=1, flags=re.S)  # plotly itself
    assert not re.search(r"""(src|href)=["']https?:""", ours)
    for words in ("Recommended", "The price of ignoring privacy", "Hypervolume", "parcoords", "heatmap"):
        assert words in ours, words
    assert all(row["policy"] in ours for row in found["front"])
    made_with = json.loads((folder / "search.json").read_text())["made_with"]
    assert made_with["victim"]["digest"] in ours and made_with["data"]["victims_digest"] in ours
    assert "was not attacked with the full suite" in ours


def test_pick_finds_the_best_policy_within_bounds(atm, searched):
    folder, _ = searched
    found = Outcome.read(folder)
    trials = list(found.again.values())  # the others' numbers are of other pictures, and do not compare
    assert len(trials) > 1 and found.again_images > 2
    limit = sorted(t["tokens"] for t in trials)[-2]
    code, out, _ = atm("pick", folder, "--at-most", f"tokens={limit}", "--maximize", "accuracy", "--json")
    picked = parse(out)
    assert code == 0
    assert picked["accuracy"] == max(t["accuracy"] for t in trials if t["tokens"] <= limit)
    assert list(load(picked["policy"], 3).thresholds) == picked["thresholds"]


@pytest.mark.parametrize(
    "words, message",
    [
        (["--minimize", "leakage", "--at-most", "tokens=0"], "none of the 9 policies"),
        (["--minimize", "latency"], "did not measure latency"),
        (["--minimize", "leakage", "--maximize", "accuracy"], "one of --minimize and --maximize"),
        ([], "one of --minimize and --maximize"),
        (["--minimize", "leekage"], "did you mean 'leakage'"),
    ],
)
def test_pick_says_what_it_cannot_do(atm, searched, words, message):
    code, _, err = atm("pick", searched[0], *words)
    assert code == 2 and message in err


def test_pick_of_a_search_that_has_only_begun_is_one_line(atm, searched):
    folder, _ = searched
    about = json.loads((folder / "search.json").read_text())
    with RunStore(folder, "search", {}, force=True) as store:
        store.begin({key: about[key] for key in ("config", "made_with")})
    code, _, err = atm("pick", folder, "--minimize", "leakage")
    assert code == 2 and "none of the 0 policies" in err


def test_pick_needs_a_search(atm, tmp_path):
    code, _, err = atm("pick", tmp_path, "--minimize", "leakage")
    assert code == 2 and "no search folder" in err


def test_objectives_are_several_words_or_a_list_with_commas(atm, victim, pictures, tmp_path):
    few = ask(victim, pictures, tmp_path / "a", 2)
    assert atm(*few, "--no-rescore", "--objectives", "accuracy", "flops", "memory")[0] == 0
    assert json.loads((tmp_path / "a/search.json").read_text())["config"]["objectives"] == [
        "accuracy",
        "flops",
        "memory",
    ]
    assert set(json.loads((tmp_path / "a/trials.jsonl").read_text().splitlines()[0])["values"]) == {
        "accuracy", "gflops", "memory",
    }  # fmt: skip
    few = ask(victim, pictures, tmp_path / "b", 2)
    assert atm(*few, "--no-rescore", "--objectives", "accuracy,tokens")[0] == 0
    code, _, err = atm(*few, "tokens")
    assert code == 2 and "--objectives" in err


def test_a_search_can_be_prolonged_but_not_changed(atm, victim, pictures, tmp_path):
    short = ask(victim, pictures, tmp_path / "s", 2)
    assert atm(*short, "--no-rescore")[0] == 0
    assert atm(*short, "--no-rescore")[0] == 2
    longer = ask(victim, pictures, tmp_path / "s", 4)
    assert atm(*longer, "--no-rescore", "--resume")[0] == 0
    assert len((tmp_path / "s/trials.jsonl").read_text().splitlines()) == 4
    code, _, err = atm(*longer, "--no-rescore", "--resume", "--seed", 5)
    assert code == 2 and "seed" in err
    assert atm(*short, "--no-rescore", "--force")[0] == 0
    assert len((tmp_path / "s/trials.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "words, message",
    [
        (["--evals", 0], "--evals 0"),
        (["--lowest", 1], "--lowest 1"),
        (["--images", 0], "--images 0"),
        (["--auxiliary", 3], "20 --auxiliary"),
        (["--budget", -5], "budget above 0"),
        (["--rescored-policies", -1], "negative"),
        (["--at-least", "accuracy=90"], "from 0 to 1"),
        (["--at-most", "tokens=inf"], "NAME=NUMBER"),
        (["--objectives", "accuracy"], "at least two"),
        (["--score", "rigde"], "did you mean 'ridge'"),
        (["--victim", "nobody"], "nobody"),
        (["--ray", "127.0.0.1:1"], "no Ray cluster"),
    ],
)
def test_bad_input_is_one_line_and_costs_no_old_search(atm, victim, pictures, tmp_path, words, message):
    assert atm(*ask(victim, pictures, tmp_path / "s", 2), "--no-rescore")[0] == 0
    before = {path: path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file()}
    for out, extra in ((tmp_path / "s", ["--force"]), (tmp_path / "new", [])):
        code, _, err = atm(*ask(victim, pictures, out, 2), *words, *extra)
        assert code == 2 and message in err and len(err.strip().splitlines()) == 1, err
    assert {path: path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file()} == before
    assert not (tmp_path / "new").exists()


def test_a_search_goes_on_only_with_the_same_weights(atm, victim, pictures, tmp_path):
    own = tmp_path / "own.safetensors"
    shutil.copy(victim, own)
    assert atm(*ask(own, pictures, tmp_path / "s", 2), "--no-rescore")[0] == 0
    assert {"victim", "signal", "codec", "data", "threat", "device", "versions"} == json.loads(
        (tmp_path / "s/search.json").read_text()
    )["made_with"].keys()
    write_weights(own, tiny_vit(1, num_classes=2), read_weights(own, "victim")[0])
    code, _, err = atm(*ask(own, pictures, tmp_path / "s", 4), "--no-rescore", "--resume")
    assert code == 2 and "made_with.victim.digest is no longer" in err


def test_a_folder_with_something_else_is_left_alone(atm, victim, pictures, tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    code, _, err = atm(*ask(victim, pictures, tmp_path, 2))
    assert code == 2 and "no search" in err and (tmp_path / "mine.txt").read_text() == "precious"


def test_the_front_is_attacked_with_everything_and_both_numbers_are_shown(atm, victim, pictures, tmp_path, monkeypatch):
    quick = {name: available()[name] for name in (*BASELINES["image"].blind, "ridge")}
    monkeypatch.setattr("audit.suite.available", lambda: quick)
    asked = ask(victim, pictures, tmp_path / "s", 4)
    code, out, err = atm(*asked, "--rescored-policies", 2, "--json")
    assert code == 0, err
    full = parse(out)["full_suite"]
    assert len(full) == 2 and all(v["low"] <= v["estimate"] <= v["high"] for v in full.values())
    assert (tmp_path / "s/rescored/report.html").exists()
    table = pd.read_csv(tmp_path / "s/front.csv").set_index("policy")
    for name, value in full.items():
        assert table.loc[name, "leakage_full_suite"] == pytest.approx(value["estimate"])
        assert table.loc[name, "leakage"] != table.loc[name, "leakage_full_suite"]
    assert "leakage, full suite" in (tmp_path / "s/report.html").read_text()


def test_a_front_is_attacked_too_where_policies_ran_out(atm, victim, pictures, tmp_path, monkeypatch):
    quick = {name: available()[name] for name in (*BASELINES["image"].blind, "ridge")}
    monkeypatch.setattr("audit.suite.available", lambda: quick)
    monkeypatch.setattr(PolicyProblem, "effect", lambda self, policy: str(round(policy.thresholds[0])))
    code, out, err = atm(*ask(victim, pictures, tmp_path / "s", 4), "--rescored-policies", 1, "--json")
    assert code == 0, err
    assert any("no policy with a new effect" in note for note in parse(out)["notes"])
    assert len(parse(out)["full_suite"]) == 1
