"""Folders of transformers: the encoder's answers against transformers' own, of small models with random weights."""

from __future__ import annotations

import json

import pytest
import torch

from atm.errors import AtmError
from atm.policy import MergePolicy
from atm.victims import Victim, load_victim

transformers = pytest.importorskip("transformers", reason="needs the extra hf (transformers), which is missing")

SHAPE = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": 32, "patch_size": 8}
SMALL = {**SHAPE, "intermediate_size": 48}
TEXT = {
    "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 3, "intermediate_size": 8, "vocab_size": 10,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
NAMES = {"id2label": {0: "cat", 1: "dog", 2: "hen"}, "label2id": {"cat": 0, "dog": 1, "hen": 2}}


def vit(**options):
    return transformers.ViTForImageClassification(transformers.ViTConfig(**(SMALL | NAMES | options)))


def dual(kind, name, **options):
    """A model of pictures and text, of which the text is no part of a victim."""
    config = getattr(transformers, f"{name}Config")(vision_config=SMALL, text_config=TEXT, **options)
    return getattr(transformers, kind)(config)


CLASSIFIERS = {
    "vit": vit,
    "vit without bias": lambda: vit(qkv_bias=False),
    "vit, grey": lambda: vit(num_channels=1),
    "vit, rectangle": lambda: vit(image_size=[32, 48]),
    "deit": lambda: transformers.DeiTForImageClassification(transformers.DeiTConfig(**SMALL, **NAMES)),
    "distilled deit": lambda: transformers.DeiTForImageClassificationWithTeacher(
        transformers.DeiTConfig(**SMALL, **NAMES)
    ),
    "dinov2": lambda: transformers.Dinov2ForImageClassification(transformers.Dinov2Config(**SHAPE, **NAMES)),
    "dinov2, registers": lambda: transformers.Dinov2WithRegistersForImageClassification(
        transformers.Dinov2WithRegistersConfig(**SHAPE, **NAMES)
    ),
    "clip, classifier": lambda: dual("CLIPForImageClassification", "CLIP", **NAMES),
    "siglip, classifier": lambda: dual("SiglipForImageClassification", "Siglip", **NAMES),
}
BACKBONES = {
    "vit": lambda: transformers.ViTModel(transformers.ViTConfig(**SMALL)),
    "dinov2 gated": lambda: transformers.Dinov2Model(transformers.Dinov2Config(**SHAPE, use_swiglu_ffn=True)),
    "dinov2, registers": lambda: transformers.Dinov2WithRegistersModel(transformers.Dinov2WithRegistersConfig(**SHAPE)),
}
EMBEDDINGS = {
    "clip, projected": lambda: transformers.CLIPVisionModelWithProjection(
        transformers.CLIPVisionConfig(**SMALL, projection_dim=7)
    ),
    "clip tower": lambda: transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**SMALL)),
    "clip": lambda: dual("CLIPModel", "CLIP", projection_dim=7),
    "siglip tower": lambda: transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**SMALL)),
    "siglip": lambda: dual("SiglipModel", "Siglip"),
}


def saved(folder, make):
    torch.manual_seed(0)
    model = make().eval()
    with torch.no_grad():  # initial biases, scales and tokens are zero or one; make every term count
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    return model


def answer(victim: Victim, exit_layer: int | None = None):
    """Pictures as the model takes them, and the victim's answer to them."""
    encoder = victim.encoder
    images = torch.rand(3, *encoder.input_shape, generator=torch.Generator().manual_seed(1))
    policy = MergePolicy.uniform(1.0, encoder.depth, exit_layer=exit_layer)
    with torch.no_grad():
        return encoder.normalise(images), encoder.finish(encoder(images, policy).tokens, policy)


@pytest.mark.parametrize("exit_layer", [None, 1])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers(tmp_path, name, exit_layer):
    model = saved(tmp_path, CLASSIFIERS[name])
    victim = load_victim(str(tmp_path))
    pixels, logits = answer(victim, exit_layer)
    with torch.no_grad():
        torch.testing.assert_close(logits, model(pixel_values=pixels).logits, atol=1e-4, rtol=1e-4)
    assert victim.task == "classification" and victim.classes == ("cat", "dog", "hen")


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_have_features_and_no_task(tmp_path, name):
    model = saved(tmp_path, BACKBONES[name])
    victim = load_victim(str(tmp_path))
    pixels, features = answer(victim)
    with torch.no_grad():
        expected = model(pixel_values=pixels).last_hidden_state[:, 0]
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)
    assert victim.task is None and victim.description["outputs"] == "features"


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_what_a_text_is_compared_with_is_no_answer(tmp_path, name):
    model = saved(tmp_path, EMBEDDINGS[name])
    victim = load_victim(str(tmp_path))
    pixels, embedding = answer(victim)
    with torch.no_grad():
        if hasattr(model, "get_image_features"):
            made = model.get_image_features(pixel_values=pixels)
        else:
            made = model(pixel_values=pixels)
    expected = next((made[key] for key in ("image_embeds", "pooler_output") if key in made), None)
    torch.testing.assert_close(embedding, expected, atol=1e-4, rtol=1e-4)
    assert victim.task is None


def test_normalisation_is_that_of_the_preprocessor(tmp_path):
    saved(tmp_path, vit)
    assert load_victim(str(tmp_path)).encoder.mean.flatten().tolist() == [0.5] * 3
    (tmp_path / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.1, 0.2, 0.3], "image_std": [1] * 3})
    )
    encoder = load_victim(str(tmp_path)).encoder
    assert encoder.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3]) and encoder.std.unique().tolist() == [1]


@pytest.mark.parametrize("name", ["vit", "distilled deit", "dinov2, registers"])
def test_another_size_resamples_positions_as_timm_does(tmp_path, name):
    saved(tmp_path, CLASSIFIERS[name])
    victim, other = load_victim(str(tmp_path)), load_victim(str(tmp_path), image_size="48x32")
    assert other.encoder.input_shape == (3, 48, 32) and "resampled" in str(other.description["undone"])
    assert answer(other)[1].isfinite().all()
    unchanged = [n for n, t in victim.encoder.vit.state_dict().items() if n != "pos_embed"]
    states = [v.encoder.vit.state_dict() for v in (victim, other)]
    assert all(torch.equal(states[0][n], states[1][n]) for n in unchanged)


def test_another_model_is_refused_before_its_weights_are_looked_for(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "resnet"}))
    with pytest.raises(AtmError, match="unknown transformers model type 'resnet'"):
        load_victim(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    with pytest.raises(AtmError, match=r"has no model\.safetensors"):
        load_victim(str(tmp_path))
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(AtmError, match="cannot be read as JSON"):
        load_victim(str(tmp_path))


def test_without_transformers_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(AtmError, match=r"\.\[hf\]"):
        load_victim(str(tmp_path))
