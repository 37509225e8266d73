"""Timm's models with the user's weights, against timm's own forward pass."""

from __future__ import annotations

import json

import pytest
import timm
import torch
from timm.layers import resample_abs_pos_embed

from atm.errors import AtmError
from atm.victims import load_victim, victims
from tests.atm.victims.saved import NAME, answer, expected, images, model, save


def same(found, wanted):
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (3, 32, 32)),
        ({"num_classes": 1000}, (3, 32, 32)),
        ({"in_chans": 1}, (1, 32, 32)),
        ({"patch_size": 16, "img_size": 48}, (3, 48, 48)),
        ({"global_pool": "avg"}, (3, 32, 32)),
    ],
    ids=["ten classes", "a thousand classes", "one channel", "other patches", "average"],
)
def test_the_shape_is_found_in_the_weights(tmp_path, options, shape):
    made = model(**options)
    victim = load_victim(NAME, save(made.state_dict(), tmp_path / "w.safetensors"))
    assert victim.encoder.input_shape == shape and victim.task == "classification"
    same(answer(victim, images(*shape)), expected(made, images(*shape)))


@pytest.mark.parametrize(
    "name",
    ["deit_tiny_distilled_patch16_224", "vit_small_patch14_reg4_dinov2", "vit_base_patch16_clip_quickgelu_224",
     "vit_base_patch16_siglip_224", "eva02_tiny_patch14_224", "beit_base_patch16_224"],
)  # fmt: skip
def test_other_families(tmp_path, name):
    made = model(name)
    victim = load_victim(name, save(made.state_dict(), tmp_path / "w.safetensors"), image_size=32)
    config = timm.get_pretrained_cfg(name)
    same(answer(victim, images(3, 32, 32)), expected(made, images(3, 32, 32), config.mean, config.std))


@pytest.mark.parametrize(
    ("name", "channels", "sides", "counted"),
    [(NAME, 3, (32, 24), "12 patches"), ("beit_base_patch16_224", 1, (48, 32), "77 offsets of patches")],
)
def test_sides_of_a_rectangle_must_be_said_and_are_taken_as_they_are(tmp_path, name, channels, sides, counted):
    made = model(name, img_size=sides, in_chans=channels)
    path = save(made.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(AtmError, match=f"{counted}, which is no square; say height and width with --image-size"):
        load_victim(name, path)
    victim = load_victim(name, path, image_size=f"{sides[0]}x{sides[1]}")
    assert victim.encoder.input_shape == (channels, *sides) and "undone" not in victim.description
    same(answer(victim, images(channels, *sides)), expected(made, images(channels, *sides)))


def test_positions_are_resampled_and_said_to_be(tmp_path):
    made = model()
    victim = load_victim(NAME, save(made.state_dict(), tmp_path / "w.safetensors"), image_size=48)
    assert victim.description["undone"] == ["positions resampled from 32x32 pixels"]
    larger, state = model(img_size=48), made.state_dict()
    state["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], (6, 6), num_prefix_tokens=1)
    larger.load_state_dict(state)
    same(answer(victim, images(3, 48, 48)), expected(larger, images(3, 48, 48)))


def test_images_must_be_whole_patches(tmp_path):
    path = save(model().state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(AtmError, match="cannot be cut into patches of 8x8; give for example 32x32"):
        load_victim(NAME, path, image_size=33)


def test_the_users_normalisation_counts(tmp_path):
    made = model()
    path = save(made.state_dict(), tmp_path / "w.safetensors")
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    victim = load_victim(NAME, path, mean=mean, std=std)
    same(answer(victim, images(3, 32, 32)), expected(made, images(3, 32, 32), mean, std))
    with pytest.raises(AtmError, match="channel"):
        load_victim(NAME, path, mean=(0.1, 0.2))


def test_a_model_without_a_head_has_no_task(tmp_path):
    path = save(model(num_classes=0).state_dict(), tmp_path / "w.safetensors")
    victim = load_victim(NAME, path)
    assert victim.task is None and victim.description["outputs"] == "features"
    with pytest.raises(AtmError, match="no task, so there is no accuracy for atm compare; give it one with --head"):
        victim.need_task("atm compare")
    names = tmp_path / "names.txt"
    names.write_text("cat\ndog\n")
    with pytest.raises(AtmError, match="no logits"):
        load_victim(NAME, path, classes=names)


def test_an_embedding_is_no_answer(tmp_path):
    name = "vit_base_patch16_clip_quickgelu_224"
    made = model(name, num_classes=512)
    state = made.state_dict() | {"head.bias": torch.zeros(512)}
    victim = load_victim(name, save(state, tmp_path / "w.safetensors"))
    assert victim.task is None and victim.description["outputs"] == "an embedding"
    state["head.bias"] += 1
    assert load_victim(name, save(state, tmp_path / "v.safetensors")).task == "classification"


def test_weights_of_another_model_name_the_first_difference(tmp_path):
    path = save(model().state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(AtmError, match=r"w\.safetensors are of another architecture: \d+ tensors differ, the first: "):
        load_victim("vit_small_patch16_224", path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path, value):
    state = model().state_dict()
    state["blocks.3.mlp.fc1.bias"][5] = value
    with pytest.raises(AtmError, match=r"blocks\.3\.mlp\.fc1\.bias"):
        load_victim(NAME, save(state, tmp_path / "w.safetensors"))


def test_a_shipped_victim_takes_no_weights(tmp_path):
    path = save(model().state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(AtmError, match="--weights cannot be given for victim 'vit_photos'"):
        load_victim("vit_photos", path)


@pytest.mark.parametrize("setting", [{"image_size": 64}, {"mean": (0.5,)}, {"std": (0.5,)}, {"classes": "a.txt"}])
def test_a_shipped_victim_takes_no_settings(setting):
    with pytest.raises(AtmError, match="--" + next(iter(setting)).replace("_", "-")):
        load_victim("vit_photos", **setting)


@pytest.mark.parametrize("name", ["vit_foto", "vit_tiny_patch16_225", "", "no such thing"])
def test_an_unknown_name_has_a_short_suggestion(name):
    with pytest.raises(AtmError) as caught:
        load_victim(name)
    line = str(caught.value)
    assert "\n" not in line and len(line) < 300
    assert sum(each in line for each in {f"'{known}'" for known in [*victims(), *timm.list_models()]}) <= 5


def test_a_model_that_cannot_be_run_is_refused_before_its_weights_are_read():
    with pytest.raises(AtmError, match="ResNet is not supported as a victim"):
        load_victim("resnet18", "there is no such file.safetensors")


def test_a_missing_file_is_one_line():
    with pytest.raises(AtmError, match="no such file"):
        load_victim(NAME, "missing.safetensors")


def test_a_folder_in_timms_format(tmp_path):
    made = model(num_classes=3)
    mean, std = [0.2, 0.3, 0.4], [0.5, 0.6, 0.7]
    config = {
        "architecture": NAME,
        "num_classes": 3,
        "model_args": {"img_size": 32, "patch_size": 8},
        "pretrained_cfg": {"mean": mean, "std": std, "input_size": [3, 32, 32]},
        "label_names": ["cat", "dog", "cow"],
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    save(made.state_dict(), tmp_path / "model.safetensors")
    victim = load_victim(str(tmp_path))
    assert victim.classes == ("cat", "dog", "cow")
    same(answer(victim, images(3, 32, 32)), expected(made, images(3, 32, 32), mean, std))
    with pytest.raises(AtmError, match="it has its own"):
        load_victim(str(tmp_path), "w.safetensors")


@pytest.mark.parametrize(
    "arguments",
    [{"name": "x"}, {"num_heads": 0}, {"patch_size": 0}, {"norm_layer": "foo"}, {"act_layer": "foo"}, {"depth": "many"},
     {"checkpoint_path": "/nonexistent.pth"}, {"pretrained_cfg": 5}, {"patch_size": [8]}, {"img_size": [32]}],
    ids=str,
)  # fmt: skip
def test_arguments_that_cannot_be_are_one_line(tmp_path, arguments):
    config = {"architecture": NAME, "model_args": {"img_size": 32, "patch_size": 8, **arguments}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save(model().state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(AtmError) as caught:
        load_victim(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("names", [["cat", "dog"], ["cat", "dog", "cow", "hen"]])
def test_other_class_names_than_logits_are_refused(tmp_path, names):
    config = {"architecture": NAME, "model_args": {"img_size": 32, "patch_size": 8}, "label_names": names}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save(model(num_classes=3).state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(AtmError, match=f"names {len(names)} classes, and its weights have 3"):
        load_victim(str(tmp_path))


def test_weights_in_several_files(tmp_path):
    made = model()
    (tmp_path / "config.json").write_text(json.dumps({"architecture": NAME, "model_args": {"img_size": 32}}))
    state = made.state_dict()
    halves = {"a.safetensors": list(state)[::2], "b.safetensors": list(state)[1::2]}
    for file, names in halves.items():
        save({name: state[name] for name in names}, tmp_path / file)
    index = {"weight_map": {name: file for file, names in halves.items() for name in names}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    same(answer(load_victim(str(tmp_path)), images(3, 32, 32)), expected(made, images(3, 32, 32)))
    (tmp_path / "b.safetensors").unlink()
    with pytest.raises(AtmError, match=r"lacks b\.safetensors"):
        load_victim(str(tmp_path))


def test_a_folder_without_configuration(tmp_path):
    with pytest.raises(AtmError, match=r"no config\.json"):
        load_victim(str(tmp_path))


def test_the_digest_is_that_of_the_weights(tmp_path):
    state = model().state_dict()
    first = load_victim(NAME, save(state, tmp_path / "a.safetensors")).digest
    assert load_victim(NAME, save(state, tmp_path / "b.safetensors")).digest == first
    state["head.bias"][0] += 1
    assert load_victim(NAME, save(state, tmp_path / "c.safetensors")).digest != first
