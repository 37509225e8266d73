"""One description of a system: typed strictly, shared by all commands, read from files, overridden by options."""

from __future__ import annotations

import inspect
import json
from dataclasses import asdict, fields

import pytest
import yaml

from atm.errors import AtmError
from audit import cli
from audit.command_lines import FIELDS
from audit.compare import CompareConfig
from audit.pareto import SearchConfig
from audit.setting import AttackConfig
from audit.sweep import SweepConfig, grid
from audit.system import System

CONFIGURATIONS = [AttackConfig, CompareConfig, SweepConfig, SearchConfig]
each = pytest.mark.parametrize("make", CONFIGURATIONS, ids=lambda make: make.__name__)


@each
@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("seed", 10**23, "seed is 1000"),
        ("seed", -1, "seed is -1"),
        ("seed", "0", "expected a whole number"),
        ("images", 2.5, "images is 2.5, expected a whole number"),
        ("victim", None, "victim is None, expected text"),
        ("mean", "0.5", "expected a list"),
        ("mean", ["0.5"], "mean[0] is '0.5', expected a number"),
        ("policys", 1, "unknown field 'policys'"),
    ],
)
def test_what_is_only_nearly_of_its_type_is_refused_in_one_line(make, field, value, said):
    with pytest.raises(AtmError) as caught:
        make(**{field: value})
    assert said in str(caught.value) and make.COMMAND in str(caught.value) and "\n" not in str(caught.value)


@each
def test_a_configuration_survives_its_file_and_a_run_s(make, tmp_path):
    asked = make(victim="x", mean=[0.5, 1], images=7, seed=2**63 - 1)
    assert asked.mean == (0.5, 1.0)
    plain = tmp_path / "experiment.yaml"
    plain.write_text(yaml.safe_dump(asked.as_dict()))
    run = tmp_path / "run.json"
    run.write_text(json.dumps({"kind": "attack", "config": asked.as_dict()}))
    assert make.read(str(plain)) == make.read(str(run)) == asked
    assert make.read(str(run), images=8).images == 8


@each
def test_all_commands_have_the_whole_system(make):
    shared = {field.name for field in fields(System)}
    assert shared <= {field.name for field in fields(make)} and {"auxiliary_data", "threat", "seed"} <= shared


@each
def test_every_field_is_an_option_whose_default_is_the_field_s(make):
    asked = inspect.signature(getattr(cli, make.COMMAND.split()[1])).parameters
    names = [field.name for field in fields(make)]
    filled = {p: next((name for name in (FIELDS.get(p), p) if name in names), None) for p in asked}
    options = {field: parameter for parameter, field in filled.items() if field is not None}
    assert options.keys() == {*names}
    for field, parameter in options.items():
        default = asked[parameter].default
        shown = grid(default) if field == "snr" else default
        shown = None if field == "budget" and not shown else shown  # 0 sets no limit
        assert shown is None or shown == getattr(make, field), field


@pytest.mark.parametrize("make", [AttackConfig, SweepConfig, SearchConfig])
def test_what_is_shared_reaches_the_attack(make):
    asked = make(
        victim="v", data="d", auxiliary_data="a", threat="t", defense="drop:0.5", images=9, seed=4, head="probe"
    )
    found = AttackConfig.of(asked)
    common = {field.name for field in fields(make)} & {field.name for field in fields(AttackConfig)}
    assert {name: asdict(asked)[name] for name in common} == {name: asdict(found)[name] for name in common}


def test_a_file_is_overridden_by_options_alone(atm, victim, pictures, tmp_path):
    experiment = tmp_path / "mine.yaml"
    experiment.write_text(
        f"victim: {victim}\ndata: {pictures}\nimages: 5\nauxiliary: 40\npolicies: [none, uniform-0.8]\n"
        "attacks: [ridge]\nquick: true\naccept: [recognised<=5%]\n"
    )
    code, _, err = atm("attack", experiment, "--images", 6, "--policy", "none", "--out", tmp_path / "run")
    assert code == 0, err
    config = json.loads((tmp_path / "run/run.json").read_text())["config"]
    assert (config["images"], config["auxiliary"], config["policies"]) == (6, 40, ["none"])
    code, out, err = atm("attack", tmp_path / "run/run.json", "--json", "--out", tmp_path / "again")
    assert code == 0, err
    assert (tmp_path / "again/scores.csv").read_bytes() == (tmp_path / "run/scores.csv").read_bytes()
    (policy,) = json.loads(out)["policies"]
    assert policy["deploy"] in ("no", "not shown") and "recognised<=5%" in policy["because"]


@pytest.mark.parametrize("text", ["images: 5\nimages: 6", "imags: 5", "images: '5'", "- 1", "images: [5]", "1: 2"])
def test_files_that_are_no_experiment(atm, tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text)
    for command in ("attack", "compare", "sweep", "search"):
        code, out, err = atm(command, tmp_path / "mine.yaml", "--out", tmp_path / "run")
        assert code == 2 and out == "" and "mine.yaml" in err and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_search_and_sweep_meet_a_defence_and_other_pictures(atm, victim, pictures, tmp_path):
    few = ("--victim", victim, "--data", pictures, "--auxiliary-data", pictures, "--auxiliary", 40)
    noisy = ("--defense", "gaussian:2")
    ask = ("sweep", *few, "--images", 6, "--policy", "none", "--snr", "10", "--out")
    leaked = []
    for name, defence in (("defended", noisy), ("open", ())):
        code, _, err = atm(*ask, tmp_path / name, *defence)
        assert code == 0, err
        (point,) = map(json.loads, (tmp_path / name / "points.jsonl").read_text().splitlines())
        leaked.append(sum(point["server"]))
    assert leaked[0] < leaked[1]
    code, _, err = atm(
        "search", *few, *noisy, "--images", 8, "--evals", 3, "--no-rescore", "--out", tmp_path / "search"
    )
    assert code == 0, err
