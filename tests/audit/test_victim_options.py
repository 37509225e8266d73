"""The options of a victim on the commands that attack one."""

from __future__ import annotations

import pytest
import typer

from audit import cli
from audit.compare import CompareConfig
from audit.pareto import SearchConfig
from audit.setting import AttackConfig, prepare
from audit.sweep import SweepConfig
from reports.run import Run
from tests.atm.victims.saved import NAME, model, save
from tests.audit.conftest import parse

FEW = ("--images", 4, "--auxiliary", 40, "--attack", "mean_image", "--policy", "none", "--codec", "uncoded")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return save(model(num_classes=0).state_dict(), tmp_path_factory.mktemp("backbone") / "w.safetensors")


def attack(out, pictures, backbone, *words):
    return ("attack", "--victim", NAME, "--weights", backbone, "--data", pictures, "--out", out, *FEW, *words)


def test_a_probe_makes_a_backbone_a_classifier(atm, pictures, backbone, tmp_path):
    code, _, err = atm(*attack(tmp_path / "a", pictures, backbone, "--head", "probe"))
    assert code == 0, err
    assert Run.read(tmp_path / "a").about["task"] == "accuracy"


def test_a_backbone_without_a_head_is_attacked_all_the_same(atm, pictures, backbone, tmp_path):
    code, _, err = atm(*attack(tmp_path / "a", pictures, backbone))
    assert code == 0, err
    assert Run.read(tmp_path / "a").about["task"] is None
    assert "NaN" not in (tmp_path / "a/report.html").read_text().partition("<script>")[0]
    code, out, err = atm("report", tmp_path / "a", "--json")
    assert code == 0, err
    assert parse(out)["policies"][0]["correct"] is None


def test_a_head_from_a_file(atm, pictures, backbone, tmp_path):
    head = tmp_path / "head.safetensors"
    words = ("--victim", NAME, "--weights", backbone, "--data", pictures, "--out", head)
    code, _, err = atm("train", "head", *words)
    assert code == 0, err
    code, _, err = atm(*attack(tmp_path / "a", pictures, backbone, "--head", head))
    assert code == 0, err
    assert Run.read(tmp_path / "a").about["task"] == "accuracy"


def test_no_attacked_picture_is_learned_from(pictures, backbone, monkeypatch):
    config = AttackConfig(
        policies=("none",), attacks=("mean_image",), victim=NAME, weights=str(backbone), codec="uncoded", head="probe",
        data=str(pictures), images=10, auxiliary=40,
    )  # fmt: skip
    learned = []
    monkeypatch.setattr("atm.victims.probe.fit", lambda victim, train, **_: learned.append(train))
    monkeypatch.setattr("atm.victims.probe.with_head", lambda victim, head: victim)
    setting = prepare(config)
    assert len(learned[0]) == 70 and not set(learned[0].hashes) & set(setting.data.victims.hashes)


def test_image_size_and_normalisation_reach_the_victim(pictures, backbone):
    config = AttackConfig(
        policies=("none",), attacks=("mean_image",), victim=NAME, weights=str(backbone), codec="uncoded",
        image_size="24x40", mean=(0.1, 0.2, 0.3), std=(0.5,) * 3, data=str(pictures), images=4, auxiliary=40,
    )  # fmt: skip
    setting = prepare(config)
    assert setting.encoder.input_shape == (3, 24, 40) == setting.data.victims.images.shape[1:]
    assert setting.encoder.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    command = config.command("x")
    assert "--image-size 24x40" in command and "--mean 0.1 --mean 0.2 --mean 0.3" in command


@pytest.mark.parametrize("command", ["attack", "compare", "sweep", "search"])
def test_every_command_has_them(command):
    known = {word for each in typer.main.get_command(cli.app).commands[command].params for word in each.opts}
    assert {"--weights", "--image-size", "--mean", "--std", "--head", "--classes"} <= known


@pytest.mark.parametrize("kind", [CompareConfig, SweepConfig, SearchConfig])
def test_every_configuration_hands_them_on(kind):
    given = {"image_size": "64", "mean": (0.1,), "std": (0.2,), "head": "probe", "classes": "c.txt", "weights": "w"}
    asked = kind(**given).attack()
    assert {name: getattr(asked, name) for name in given} == given


def test_search_of_accuracy_without_a_task_is_refused(atm, pictures, backbone, tmp_path):
    words = ("--victim", NAME, "--weights", backbone, "--data", pictures, "--images", 8, "--out", tmp_path / "s")
    code, _, err = atm("search", *words, "--objectives", "tokens", "flops", "--at-least", "accuracy=0.5")
    assert code == 2 and "no task" in err and "--head" in err
