"""`atm train merging` as a user meets it: from its folder through an attack and a search to a pick."""

from __future__ import annotations

import json

import pytest

from atm.errors import AtmError
from atm.maps import Maps
from atm.merging_training import MergingTraining
from atm.policy import MergePolicy
from atm.weight_files import file_digest
from audit import train_merging
from reports.run import Run
from tests.audit.conftest import parse

FEW = ("--steps", 4, "--batch", 8, "--images", 40, "--target-flops", 0.8)


def ask(victim, pictures, out, *more):
    return (
        "train",
        "merging",
        "--victim",
        victim,
        "--data",
        pictures,
        "--test-data",
        pictures,
        "--out",
        out,
        *FEW,
        *more,
    )


@pytest.fixture
def learned(atm, victim, pictures, tmp_path):
    code, out, err = atm(*ask(victim, pictures, tmp_path / "mine", "--privacy", 0.3, "--json"))
    assert code == 0, err
    return tmp_path / "mine", parse(out)


def test_it_writes_a_policy_its_maps_and_a_card(learned, pictures):
    folder, told = learned
    policy = MergePolicy.read(folder / "policy.yaml")
    maps = folder / told["maps"]
    assert file_digest(maps) == told["maps_digest"] == policy.maps.digest
    assert (
        list(policy.thresholds) == told["thresholds"]
        and policy.name == "mine"
        and told["policy"].endswith("policy.yaml")
    )
    assert told["flops"] == pytest.approx(0.8, abs=0.1)
    text = (folder / "card.md").read_text()
    assert told["maps_digest"] in text and "--privacy 0.3" in text and str(pictures.parent) not in text
    assert "not told" in text and "accuracy" not in told, "the pictures that it was trained on judge nothing"
    records = [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [4] and records[0]["leak"] > 0


def test_its_policy_is_attacked_searched_and_picked(atm, learned, victim, pictures, tmp_path):
    folder, told = learned
    own, run, search = folder / "policy.yaml", tmp_path / "run", tmp_path / "search"
    few = ("--victim", victim, "--data", pictures, "--images", 4, "--auxiliary", 40)
    code, _, err = atm("attack", *few, "--attack", "ridge", "--policy", own, "--policy", "none", "--out", run)
    assert code == 0, err
    recorded = Run.read(run).about["policies"][0]
    assert recorded["match"] == "learned" and recorded["maps_digest"] == told["maps_digest"]
    asked = ("search", *few, "--like", own, "--evals", 4, "--lowest", 0, "--no-rescore", "--out", search)
    code, out, err = atm(*asked, "--json")
    assert code == 0 and len(parse(out)["front"]), err
    code, out, err = atm("pick", search, "--minimize", "leakage", "--json")
    assert code == 0, err
    picked = MergePolicy.read(parse(out)["policy"])
    assert picked.maps == Maps.read(folder / told["maps"]) and list(picked.thresholds) == parse(out)["thresholds"]
    code, _, err = atm(
        "attack", *few, "--attack", "ridge", "--policy", parse(out)["policy"], "--out", tmp_path / "again"
    )
    assert code == 0, err
    (folder / told["maps"]).unlink()
    code, _, err = atm(*asked, "--resume")
    assert code == 2 and "no such file" in err


def test_one_that_was_stopped_goes_on_to_the_same_policy(atm, victim, pictures, tmp_path, monkeypatch):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    monkeypatch.setattr(train_merging, "EVERY", 2)
    assert atm(*ask(victim, pictures, whole))[0] == 0
    real = MergingTraining._one

    def dies(self, answers):
        if self.step == 3:
            raise KeyboardInterrupt
        return real(self, answers)

    monkeypatch.setattr(MergingTraining, "_one", dies)
    assert atm(*ask(victim, pictures, stopped))[0] == 130 and not (stopped / "policy.yaml").exists()
    taken = []

    def counted(self, answers):
        taken.append(self.step)
        return real(self, answers)

    monkeypatch.setattr(MergingTraining, "_one", counted)
    code, _, err = atm(*ask(victim, pictures, stopped, "--seed", 1), "--resume")
    assert code == 2 and "seed" in err and not taken
    assert atm(*ask(victim, pictures, stopped), "--resume")[0] == 0 and taken == [2, 3]
    assert MergePolicy.read(stopped / "policy.yaml") == MergePolicy.read(whole / "policy.yaml")
    assert (stopped / "losses.jsonl").read_text() == (whole / "losses.jsonl").read_text()


def test_thresholds_alone_are_an_ordinary_policy_and_a_forced_run_leaves_no_maps(atm, learned, victim, pictures):
    folder, told = learned
    code, _, err = atm(*ask(victim, pictures, folder))
    assert code == 2 and "--resume" in err and "--force" in err
    code, _, err = atm(*ask(victim, pictures, folder, "--learn", "thresholds", "--force"))
    assert code == 0 and not (folder / told["maps"]).exists(), err
    assert MergePolicy.read(folder / "policy.yaml").match == "value"
    code, _, err = atm("report", folder)
    assert code == 2 and "a card and no report" in err


def test_a_policy_serves_no_other_victim(atm, learned, pictures, tmp_path):
    folder, _ = learned
    few = ("--data", pictures, "--images", 4, "--auxiliary", 40, "--attack", "ridge", "--out", tmp_path / "run")
    code, _, err = atm("attack", "--victim", "vit_photos", "--policy", folder / "policy.yaml", *few)
    assert code == 2 and "3 thresholds but the victim has 6 layers" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--target-flops", 0), "not in (0, 1)"),
        (("--target-flops", "nan"), "not in (0, 1)"),
        (("--target-flops", 0.05), "the most"),
        (("--learn", "matchin"), "did you mean 'matching'"),
        (("--privacy", -1), "no weight"),
        (("--privacy", "inf"), "no weight"),
        (("--steps", 0), "1 step"),
        (("--batch", 1), "batches of 2"),
        (("--batch", 100, "--images", 100), "80 pictures to learn from, fewer than --batch 100"),
        (("--exit-layer", 4), "not in 1 to 3"),
        (("--head", "none.safetensors"), "no such file"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_leaves_nothing(atm, victim, pictures, tmp_path, words, said):
    code, _, err = atm(*ask(victim, pictures, tmp_path / "mine", *words))
    assert code == 2 and said in err and err.count("\n") == 1 and not (tmp_path / "mine").exists(), err


def test_a_config_is_refused_where_it_is_made():
    with pytest.raises(AtmError, match="not in"):
        train_merging.MergingConfig("--victim x", "photos", target_flops=1.0)
