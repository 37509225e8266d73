"""``atm train placer``, and attacks that go on from what it wrote."""

from __future__ import annotations

import shutil

import pytest
from PIL import Image

from attacks.placer import Placer
from reports.run import Run
from tests.audit.conftest import parse

TINY = ("--codec", "uncoded", "--policy", "uniform-0.9", "--channel", "awgn:20")
QUICK = ("--images", "10", "--auxiliary", "30", "--attack", "ridge", "--attack", "position", "--quick")


@pytest.fixture(scope="module")
def split(pictures, tmp_path_factory):
    """The same pictures, half of them to train on."""
    root = tmp_path_factory.mktemp("split")
    for name in ("cat", "dog"):
        for number, path in enumerate(sorted((pictures / name).iterdir())):
            to = root / ("train" if number % 2 else "test") / name / path.name
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to)
    return root


@pytest.fixture
def trained(atm, victim, split, tmp_path):
    path = tmp_path / "placer.safetensors"
    code, out, err = atm(
        "train", "placer", "--victim", victim, "--data", split, *TINY, "--steps", "20", "--width", "16", "--out", path
    )
    assert code == 0, err
    assert out.startswith(str(path)) and "held-out" in out
    assert f"next: atm attack --victim {victim} " in err
    assert err.endswith(f" --threat server-shuffled --data {split} --policy uniform-0.9 --placer {path}\n")
    return path


def test_an_attack_goes_on_from_it_and_says_so(atm, victim, split, trained, tmp_path):
    assert "`atm train placer --victim tiny.safetensors" in trained.with_suffix(".md").read_text()
    words = ("attack", "--victim", victim, "--data", split, *TINY, "--threat", "server-shuffled", *QUICK)
    code, _, err = atm(*words, "--placer", trained, "--out", tmp_path / "run")
    assert code == 0, err
    run = Run.read(tmp_path / "run")
    said = run.about["threat_in_words"]
    assert "She learned beforehand" in said and "under policy uniform-0.9" in said and len(run.about["placer"]) == 64
    code, _, err = atm(*words, "--replay", tmp_path / "run", "--out", tmp_path / "again")
    assert code == 2 and "give the same --placer" in err


def test_it_goes_on_from_an_earlier_one(atm, victim, split, trained, tmp_path):
    words = (
        "train",
        "placer",
        "--victim",
        victim,
        "--data",
        split,
        *TINY,
        "--steps",
        "5",
        "--start",
        trained,
        "--json",
    )
    code, out, err = atm(*words, "--out", tmp_path / "more.safetensors")
    assert code == 0, err
    told = parse(out)
    assert told["width"] == 16 and told["steps"] <= 5 and told["start"] == Placer.read(trained).digest
    code, _, err = atm(*words, "--threat", "server-no-map", "--out", tmp_path / "other.safetensors")
    assert code == 2 and "was trained for server-shuffled" in err
    code, _, err = atm(*words, "--codec", "digital:10", "--out", tmp_path / "other.safetensors")
    assert code == 2 and "another codec" in err


def test_what_an_earlier_one_learned_from_may_not_be_attacked_either(atm, victim, split, trained, tmp_path):
    """Else a second training, on others, would wash the attacked pictures out of what the file tells."""
    path, test = tmp_path / "more.safetensors", ("--test-data", split / "train", "--data", split / "test")
    code, _, err = atm(
        "train", "placer", "--victim", victim, *test, *TINY, "--steps", "2", "--start", trained, "--out", path
    )
    assert code == 0, err
    attack = ("attack", "--victim", victim, *TINY, "--threat", "server-shuffled", *QUICK, "--out", tmp_path / "run")
    for folder in ("train", "test"):
        code, _, err = atm(*attack, "--data", split / folder, "--placer", path)
        assert code == 2 and "attacked pictures; train it on others" in err.replace("\n", " ")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("--threat", "server"), "knows where tokens belong"),
        (("--threat", "black-box"), "denies"),
        (("--steps", "0"), "give 1 step"),
        (("--width", "10"), "four heads"),
        (("--budget", "0"), "must be a number of seconds"),
        (("--images", "12"), "too few to learn from"),
        (("--start", "nowhere.safetensors"), "no such file"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(atm, victim, split, tmp_path, changed, said):
    path = tmp_path / "placer.safetensors"
    code, _, err = atm("train", "placer", "--victim", victim, "--data", split, *TINY, "--out", path, *changed)
    assert code == 2 and said in err and len(err.strip().splitlines()) <= 2 and not path.exists()


def test_nothing_is_learned_from_what_is_said_to_be_attacked(atm, victim, split, tmp_path):
    path, same = tmp_path / "placer.safetensors", ("--data", split / "train", "--test-data", split / "train")
    code, _, err = atm("train", "placer", "--victim", victim, *same, *TINY, "--out", path)
    assert code == 2 and "0 pictures are too few to learn from" in err and not path.exists()


def test_near_duplicates_of_what_is_attacked_are_left_out(atm, victim, split, tmp_path):
    for name in ("cat", "dog"):
        lighter = Image.open(min((split / "train" / name).iterdir())).point(lambda value: min(value + 2, 255))
        (tmp_path / "attacked" / name).mkdir(parents=True)
        lighter.save(tmp_path / "attacked" / name / "lighter.png")
    path, test = tmp_path / "placer.safetensors", ("--test-data", tmp_path / "attacked")
    code, _, err = atm("train", "placer", "--victim", victim, "--data", split / "train", *test, *TINY, "--out", path)
    assert code == 2 and "38 pictures are too few to learn from" in err


def test_it_may_not_have_seen_what_is_attacked(atm, victim, pictures, split, trained, tmp_path):
    words = ("attack", "--victim", victim, *TINY, "--threat", "server-shuffled", *QUICK, "--out", tmp_path / "run")
    code, _, err = atm(*words, "--data", pictures, "--placer", trained)
    assert code == 2 and "attacked pictures; train it on others" in err.replace("\n", " ")


def test_one_for_another_system_is_refused(atm, victim, split, trained, tmp_path):
    words = ("--threat", "server-shuffled", *QUICK, "--placer", trained, "--out", tmp_path / "run")
    code, _, err = atm("attack", "--victim", victim, "--data", split, "--codec", "digital:10", *words)
    assert code == 2 and "another codec" in err
    code, _, err = atm("attack", "--images", "10", "--auxiliary", "30", *words[2:])
    assert code == 2 and "another victim" in err
    few = tmp_path / "few.yaml"
    few.write_text("name: few\nknows: [weights, codec, policy, snr, auxiliary]\nauxiliary: 25\n")
    code, _, err = atm("attack", "--victim", victim, "--data", split, *TINY, *words, "--threat", few)
    assert code == 2 and "has 25 at most" in err.replace("\n", " ")
    assert not (tmp_path / "run").exists()


def test_whoever_has_no_test_split_is_told(atm, victim, pictures, tmp_path):
    path = tmp_path / "placer.safetensors"
    code, _, err = atm("train", "placer", "--victim", victim, "--data", pictures, *TINY, "--steps", "2", "--out", path)
    assert code == 0 and "has no test split" in err.replace("\n", " ")
