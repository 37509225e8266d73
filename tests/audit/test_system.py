"""One description of a system for all commands: its fields, its options and what is said about mistakes in it."""

from __future__ import annotations

import pytest
import typer

from atm.errors import AtmError
from audit import cli
from audit.configs import AttackConfig, CompareConfig, SweepConfig, flag
from audit.search import SearchConfig
from audit.system import System
from reports.sweep import Sweep as SweepFolder

KINDS = {"attack": AttackConfig, "compare": CompareConfig, "sweep": SweepConfig, "search": SearchConfig}


@pytest.mark.parametrize("command", KINDS)
def test_every_field_is_an_option_and_every_option_of_a_system_is_one_of_every_command(command):
    known = {word for each in typer.main.get_command(cli.app).commands[command].params for word in each.opts}
    assert issubclass(KINDS[command], System)
    assert {flag(name) for name in KINDS[command].model_fields} <= known
    assert {flag(name) for name in System.model_fields} <= known


def test_lists_are_tuples_and_a_configuration_is_a_value():
    asked = AttackConfig(policies=["none"], mean=[0.5, 1])
    assert asked == AttackConfig(policies=("none",), mean=(0.5, 1.0)) and hash(asked) == hash(asked.but())
    assert asked.but(seed=3).seed == 3 and asked.seed == 0
    assert AttackConfig(**asked.plain()) == asked
    assert AttackConfig(budget=0).budget is None


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"polices": ["none"]}, "unknown field 'polices': did you mean 'policies'?"),
        ({"images": "many"}, "images 'many': should be a valid integer"),
        ({"images": True}, "images True: should be a valid integer"),
        ({"images": 3.5}, "images 3.5: should be a valid integer"),
        ({"policies": "none"}, "policies 'none': should be a valid list"),
        ({"policies": ["none", 3]}, "policies.1 3: should be a valid string"),
        ({"mean": [float("nan")]}, "mean.0 nan: should be a finite number"),
        ({"victim": None}, "victim None: should be a valid string"),
    ],
)
def test_a_bad_field_is_one_line(fields, said):
    with pytest.raises(AtmError) as caught:
        AttackConfig(**fields)
    assert str(caught.value) == said
    with pytest.raises(AtmError):
        AttackConfig().but(**fields)


def test_what_a_command_has_several_of_begins_with_what_systems_share():
    assert CompareConfig(defense="shuffle", defenses=("none", "quantize:4", "shuffle")).others == [
        "shuffle",
        "quantize:4",
    ]
    asked = SweepConfig(channel="rician:10,k=3", codec="uncoded", snr="0:10:5").filled()
    assert (asked.channels, asked.codecs, asked.snr) == (("rician,k=3",), ("uncoded",), (0.0, 5.0, 10.0))
    assert SweepConfig(channels=("awgn",), codecs=("jscc",)).filled().codecs == ("jscc",)


def test_a_search_attacks_the_same_system():
    given = {"defense": "drop:0.5", "auxiliary_data": "photos", "mean": (0.1,), "images": 40, "threat": "stranger"}
    asked = SearchConfig(**given, evals=3).attack(policies=("none",))
    assert {name: getattr(asked, name) for name in given} == given and asked.policies == ("none",)


def test_a_defence_in_a_sweep(atm, victim, pictures, tmp_path):
    few = ("--data", pictures, "--victim", victim, "--images", 4, "--auxiliary", 40, "--policy", "none", "--snr", "10")
    for name, words in {"bare": (), "defended": ("--defense", "drop:0.5")}.items():
        code, _, err = atm("sweep", *few, *words, "--out", tmp_path / name, "--json")
        assert code == 0, err
    tokens = [SweepFolder.read(tmp_path / name).points[0]["tokens"] for name in ("bare", "defended")]
    assert all(few < all_ for few, all_ in zip(tokens[1], tokens[0], strict=True))
    code, _, err = atm("sweep", *few, "--defense", "drop:0.4", "--out", tmp_path / "defended", "--resume")
    assert code == 2 and "was made with defense = 'drop:0.5', not 'drop:0.4'" in err


def test_a_defence_and_pictures_of_another_distribution_in_a_search(atm, victim, pictures, tmp_path):
    few = ("--data", pictures, "--victim", victim, "--images", 8, "--auxiliary", 40, "--evals", 2, "--no-rescore")
    words = (
        *few,
        "--objectives",
        "accuracy",
        "tokens",
        "leakage",
        "--threat",
        "server-shifted",
        "--defense",
        "drop:0.5",
    )
    code, _, err = atm("search", *words, "--out", tmp_path / "s")
    assert code == 2 and "give --auxiliary-data" in err
    code, _, err = atm("search", *words, "--auxiliary-data", "photos", "--out", tmp_path / "s")
    assert code == 0, err


def test_compare_takes_several_defences_and_pictures_of_another_distribution(atm, victim, pictures, tmp_path):
    few = ("--data", pictures, "--victim", victim, "--images", 4, "--auxiliary", 40, "--policy", "uniform-0.5")
    words = ("--attack", "ridge", "--defense", "drop:0.5", "--defense", "quantize:4", "--auxiliary-data", "photos")
    code, out, err = atm("compare", *few, *words, "--out", tmp_path / "c", "--json")
    assert code == 0, err
    assert '"drop:0.5"' in out and '"quantize:4"' in out
