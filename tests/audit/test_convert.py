"""From a user's own checkpoint to an attack: `atm convert`, `atm train head`, `atm attack`."""

from __future__ import annotations

import pytest
import torch

from tests.atm.victims.saved import NAME, model, save
from tests.audit.conftest import parse

FEW = ("--images", 4, "--auxiliary", 40, "--attack", "mean_image", "--policy", "uniform-0.5", "--json")


def test_a_fine_tuned_model_runs_from_its_checkpoint(atm, pictures, tmp_path):
    """A two-class timm model in half precision, wrapped and nested as training scripts leave it."""
    state = {
        f"module.{name}": tensor.half() for name, tensor in model(num_classes=2, patch_size=8).state_dict().items()
    }
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "checkpoint.pth")
    words = ("--victim", NAME, "--data", pictures, *FEW)
    code, _, err = atm("attack", *words, "--weights", tmp_path / "checkpoint.pth", "--out", tmp_path / "run")
    assert code == 2 and "atm convert" in err and len(err.strip().splitlines()) == 1
    weights = tmp_path / "weights.safetensors"
    code, out, err = atm("convert", tmp_path / "checkpoint.pth", weights)
    assert code == 0 and "found under ['state_dict']" in out, err
    assert err == f"next: atm attack --victim TIMM_NAME --weights {weights}\n"
    assert atm("convert", tmp_path / "checkpoint.pth", weights)[0] == 2, "it is there already"
    code, out, err = atm("attack", *words, "--weights", weights, "--out", tmp_path / "run")
    assert code == 0, err
    assert 0 <= parse(out)["policies"][0]["correct"] <= 1


@pytest.mark.parametrize("classes", [0, 7])
def test_a_head_is_fitted_and_kept(atm, pictures, tmp_path, classes):
    weights = save(model(num_classes=classes).state_dict(), tmp_path / "w.safetensors")
    named, head = ("--victim", NAME, "--weights", weights), tmp_path / "head.safetensors"
    code, _, err = atm("train", "head", *named, "--data", pictures, "--out", head)
    assert f"next: atm attack --victim {NAME} --weights {weights} --data {pictures} --head {head}" in err
    assert code == 0 and "no test accuracy" in err, err  # a folder without a split gives the same pictures for both
    card = head.with_suffix(".md").read_text()
    assert "atm train head" in card and str(tmp_path) not in card
    code, out, err = atm("attack", *named, "--head", head, "--data", pictures, *FEW, "--out", tmp_path / "run")
    assert code == 0, err
    assert 0 <= parse(out)["policies"][0]["correct"] <= 1
