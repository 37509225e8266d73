"""State dicts as training scripts save them."""

from __future__ import annotations

import pytest
import torch

from atm.errors import AtmError
from atm.victims import load_victim
from atm.victims.state import tidied
from tests.atm.victims.saved import NAME, answer, expected, images, model, save

SIX = images(3, 32, 32)


@pytest.fixture(scope="module")
def made():
    return model()


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "module.backbone.", "net.encoder.vit."])
def test_prefixes_are_undone_and_named(tmp_path, made, prefix):
    state = {prefix + name: tensor for name, tensor in made.state_dict().items()}
    victim = load_victim(NAME, save(state, tmp_path / "w.safetensors"))
    assert victim.description["undone"] == [f"prefix {prefix!r} undone"]
    torch.testing.assert_close(answer(victim, SIX), expected(made, SIX), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_cast_and_named(tmp_path, made, dtype):
    state = {name: tensor.to(dtype) for name, tensor in made.state_dict().items()}
    victim = load_victim(NAME, save(state, tmp_path / "w.safetensors"))
    assert victim.description["undone"] == [f"cast from {str(dtype).removeprefix('torch.')} to float32"]
    same = model()
    same.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    torch.testing.assert_close(answer(victim, SIX), expected(same, SIX), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("head", ["head.1.", "fc.", "classifier.", "classifier.0."])
def test_a_head_by_another_name_is_taken_and_named(tmp_path, made, head):
    state = {(head + name[5:] if name.startswith("head.") else name): t for name, t in made.state_dict().items()}
    victim = load_victim(NAME, save(state, tmp_path / "w.safetensors"))
    assert any("is taken for the task head" in line for line in victim.description["undone"])
    torch.testing.assert_close(answer(victim, SIX), expected(made, SIX), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("head", ["head.", "fc.", "linear.", "1."])
def test_a_head_beside_the_backbone(tmp_path, made, head):
    state = {
        (head + name[5:] if name.startswith("head.") else f"backbone.{name}"): t
        for name, t in made.state_dict().items()
    }
    victim = load_victim(NAME, save(state, tmp_path / "w.safetensors"))
    torch.testing.assert_close(answer(victim, SIX), expected(made, SIX), atol=1e-4, rtol=1e-4)


def test_a_head_without_bias(tmp_path, made):
    state = made.state_dict()
    bias = state.pop("head.bias")
    victim = load_victim(NAME, save(state, tmp_path / "w.safetensors"))
    assert "a head without bias" in victim.description["undone"]
    torch.testing.assert_close(answer(victim, SIX), expected(made, SIX) - bias, atol=1e-4, rtol=1e-4)


def test_two_transformers_are_refused(made):
    state = {f"{who}.{name}": t for who in ("student", "teacher") for name, t in made.state_dict().items()}
    with pytest.raises(AtmError, match=r"2 transformers, under 'student\.' and 'teacher\.'"):
        tidied(state, "w")


def test_tensors_that_are_nothing_of_the_model_are_refused(made):
    state = {f"model.{name}": t for name, t in made.state_dict().items()} | {"optimizer.step": torch.ones(3)}
    with pytest.raises(AtmError, match=r"1 tensors beside the transformer, such as optimizer\.step"):
        tidied(state, "w")


def test_two_candidates_for_the_head_are_refused(made):
    state = {f"model.{name}": t for name, t in made.state_dict().items() if not name.startswith("head.")}
    state |= {"fc.weight": torch.ones(4, 192), "linear.weight": torch.ones(5, 192)}
    with pytest.raises(AtmError, match="2 tensors beside the transformer"):
        tidied(state, "w")
