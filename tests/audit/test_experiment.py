"""Experiment files: read, overridden by options, written into the run folder, and run again."""

from __future__ import annotations

import json

import pytest
import yaml

from reports.run import Run
from tests.audit.conftest import parse


@pytest.fixture
def experiment(victim, pictures, tmp_path):
    """``experiment(**fields)`` writes a file of a small attack with other fields."""

    def write(**fields):
        content = {
            "victim": str(victim), "data": str(pictures), "images": 4, "auxiliary": 40, "policies": ["none"],
            "attacks": ["ridge"], **fields,
        }  # fmt: skip
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
        return path

    return write


def test_options_override_the_file_and_the_folder_holds_what_was_run(atm, experiment, tmp_path):
    path = experiment(seed=5, channel="awgn:0")
    code, out, err = atm("attack", path, "--channel", "awgn:20", "--out", tmp_path / "a", "--json")
    assert code == 0, err
    config = Run.read(tmp_path / "a").about["config"]
    assert (config["seed"], config["channel"], config["images"]) == (5, "awgn:20", 4)
    written = tmp_path / "a/experiment.yaml"
    assert yaml.safe_load(written.read_text()) == config
    code, again, err = atm("attack", written, "--out", tmp_path / "b", "--json")
    assert code == 0, err
    assert parse(again)["policies"][0]["ssim"] == parse(out)["policies"][0]["ssim"]
    assert atm("attack", written, "--out", tmp_path / "a", "--resume")[0] == 0
    code, _, err = atm("attack", path, "--out", tmp_path / "a", "--resume")
    assert code == 2 and "was made with channel = 'awgn:20', not 'awgn:0'" in err


def test_an_option_that_repeats_the_default_overrides_too(atm, experiment, tmp_path):
    code, _, err = atm("attack", experiment(channel="awgn:0"), "--channel", "awgn:10", "--out", tmp_path / "a")
    assert code == 0, err
    assert Run.read(tmp_path / "a").about["config"]["channel"] == "awgn:10"


@pytest.mark.parametrize(
    "command, more",
    [
        ("compare", {}),
        ("sweep", {"snr": "0,10", "codecs": ["uncoded"]}),
        ("search", {"attacks": None, "policies": None, "evals": 2, "objectives": ["tokens", "accuracy"]}),
    ],
)
def test_every_command_takes_a_file_and_leaves_one(atm, experiment, tmp_path, command, more):
    path = experiment(**more)
    words = ("--no-rescore",) if command == "search" else ()
    code, _, err = atm(command, path, *words, "--out", tmp_path / "a")
    assert code == 0, err
    config = json.loads((tmp_path / f"a/{command}.json").read_text())["config"]
    assert yaml.safe_load((tmp_path / "a/experiment.yaml").read_text()) == config
    code, _, err = atm(command, tmp_path / "a/experiment.yaml", *words, "--out", tmp_path / "a", "--resume")
    assert code == 0, err


@pytest.mark.parametrize(
    "text, said",
    [
        ("images: 4\nseed: 1\nimages: 5\n", "'images' is there twice"),
        ("imges: 4\n", "unknown field 'imges': did you mean 'images'?"),
        ("evals: 4\n", "unknown field 'evals'"),
        ("images: many\n", "images 'many': should be a valid integer"),
        ("- images\n", "needs fields such as"),
        ("", "needs fields such as"),
        ("1: 2\n", "needs fields such as"),
        ("images: [\n", "mine.yaml"),
        ("policies: !!python/object:os.system {}\n", "could not determine a constructor"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(atm, tmp_path, text, said):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    code, out, err = atm("attack", path, "--out", tmp_path / "run")
    assert code == 2 and out == "" and len(err.strip().splitlines()) == 1
    assert said in err and "experiment file" in err and str(path) in err
    assert not (tmp_path / "run").exists()


def test_a_missing_file_and_a_word_that_is_none(atm, experiment, tmp_path):
    code, _, err = atm("attack", tmp_path / "nothing.yaml")
    assert code == 2 and "cannot be read: No such file" in err
    code, _, err = atm("attack", "moderate")
    assert code == 2 and "unexpected 'moderate': an experiment file ends in .yaml" in err
    code, _, err = atm("search", "tokens", experiment())
    assert code == 2 and "names of objectives follow --objectives" in err


def test_a_mistake_in_an_option_is_not_blamed_on_the_file(atm, experiment):
    code, _, err = atm("attack", experiment(), "--mean", "nan")
    assert code == 2 and "mean.0 nan" in err and "experiment file" not in err
