"""Whisper's encoder and spectrogram transformers: every layer against transformers' own, small and real ones."""

from __future__ import annotations

import json

import pytest
import torch

from atm.data import load
from atm.errors import AtmError
from atm.policy import MergePolicy
from atm.victims import load_victim, probe
from tests.atm.victims.test_real import weights
from tests.sounds import whisper

transformers = pytest.importorskip("transformers", reason="needs the extra hf (transformers), which is missing")


def hidden(model, features):
    """The tokens before and after every layer, and after the last norm, computed with transformers' own modules."""
    gelu = torch.nn.functional.gelu
    x = gelu(model.conv2(gelu(model.conv1(features)))).transpose(1, 2)
    states = [x + model.embed_positions.weight[: x.shape[1]]]
    for layer in model.layers:
        x = layer(states[-1], None)
        states.append(x[0] if isinstance(x, tuple) else x)
    return [*states, model.layer_norm(states[-1])]


def check_every_layer(victim, model, frames, atol=1e-4):
    encoder = victim.encoder
    images = torch.rand(2, *encoder.input_shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = hidden(model, encoder.normalise(images)[:, 0])
        torch.testing.assert_close(encoder.start(images).values, expected[0].flatten(0, 1), atol=atol, rtol=1e-4)
        for layer in range(1, encoder.depth + 1):
            policy = MergePolicy.uniform(1.0, encoder.depth, exit_layer=layer)
            tokens = encoder(images, policy).tokens
            assert tokens.counts == [frames // 2] * 2
            torch.testing.assert_close(tokens.values, expected[layer].flatten(0, 1), atol=atol, rtol=1e-4)
            pooled = encoder.pool(tokens, policy)
            torch.testing.assert_close(pooled, expected[-1].mean(1), atol=atol, rtol=1e-4)


@pytest.mark.parametrize("frames", [48, 20])
def test_whispers_layers_are_those_of_transformers(tmp_path, frames):
    model = whisper(tmp_path).encoder
    victim = load_victim(str(tmp_path), image_size=(16, frames))
    assert victim.encoder.input_shape == (1, 16, frames) and victim.encoder.patch_grid == (1, frames // 2)
    assert victim.encoder.signal.name == "log-mel" and victim.encoder.signal.unit == 32
    assert victim.task is None and victim.description["outputs"] == "features"
    assert ("positions" in str(victim.description.get("undone"))) == (frames != 48)
    check_every_layer(victim, model, frames)


def test_the_whole_encoder_is_that_of_transformers(tmp_path):
    model, victim = whisper(tmp_path).encoder, load_victim(str(tmp_path))
    images, policy = torch.rand(2, 1, 16, 48), MergePolicy.uniform(1.0, 2)
    with torch.no_grad():
        expected = model(victim.encoder.normalise(images)[:, 0]).last_hidden_state.mean(1)
        pooled = victim.encoder.pool(victim.encoder(images, policy).tokens, policy)
    torch.testing.assert_close(pooled, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("exit_layer", [None, 1])
def test_whispers_classifier_answers_as_transformers(tmp_path, exit_layer):
    names = {"id2label": {0: "no", 1: "yes", 2: "stop"}, "label2id": {"no": 0, "yes": 1, "stop": 2}}
    model = whisper(tmp_path, "WhisperForAudioClassification", **names)
    victim = load_victim(str(tmp_path))
    images, policy = torch.rand(2, 1, 16, 48), MergePolicy.uniform(1.0, 2, exit_layer=exit_layer)
    with torch.no_grad():
        expected = model(victim.encoder.normalise(images)[:, 0]).logits
        logits = victim.encoder.finish(victim.encoder(images, policy).tokens, policy)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert victim.classes == ("no", "yes", "stop") and victim.task == "classification"


AST = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48, "patch_size": 8,
       "frequency_stride": 8, "time_stride": 8, "max_length": 48, "num_mel_bins": 16}  # fmt: skip


def ast(path, kind="ASTModel", **options):
    torch.manual_seed(0)
    model = getattr(transformers, kind)(transformers.ASTConfig(**(AST | options))).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    model.save_pretrained(path)
    return model


@pytest.mark.parametrize("exit_layer", [None, 1])
@pytest.mark.parametrize("kind", ["ASTModel", "ASTForAudioClassification"])
def test_spectrogram_transformers_answer_as_transformers(tmp_path, kind, exit_layer):
    model, victim = ast(tmp_path, kind), load_victim(str(tmp_path))
    assert victim.encoder.input_shape == (1, 16, 48) and victim.encoder.patch_grid == (2, 6)
    assert victim.encoder.signal.name == "fbank"
    images, policy = torch.rand(2, 1, 16, 48), MergePolicy.uniform(1.0, 2, exit_layer=exit_layer)
    with torch.no_grad():
        expected = model(victim.encoder.normalise(images)[:, 0].transpose(1, 2))
        expected = expected.logits if "logits" in expected else expected.pooler_output
        logits = victim.encoder.finish(victim.encoder(images, policy).tokens, policy)
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)
    assert (victim.task is None) == (kind == "ASTModel")


def test_its_normalisation_is_that_of_the_extractor(tmp_path):
    ast(tmp_path)
    images, values = torch.rand(1, 1, 16, 48), {}
    for number, said in enumerate(({}, {"mean": 1.0, "std": 2.0}, {"do_normalize": False})):
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
        values[number] = load_victim(str(tmp_path)).encoder.normalise(images)
    torch.testing.assert_close(values[1], (values[2] - 1) / 4)
    torch.testing.assert_close(values[0], (values[2] + 4.2677393) / (2 * 4.5689974))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"std": 0}))
    with pytest.raises(AtmError, match="give two numbers"):
        load_victim(str(tmp_path))


@pytest.mark.parametrize("size", ["16x21", "24x20", "16x50", "16"])
def test_a_window_that_whisper_cannot_hear_is_refused(tmp_path, size):
    whisper(tmp_path)
    if size == "16":
        assert load_victim(str(tmp_path), image_size=size).encoder.input_shape == (1, 16, 16)
        return
    with pytest.raises(AtmError, match=r"hears 16 mel bands of at most 48 frames of 10 ms, in pairs") as refusal:
        load_victim(str(tmp_path), image_size=size)
    assert "\n" not in str(refusal.value)


def test_what_is_not_supported_is_refused_in_one_line(tmp_path):
    ast(tmp_path / "a", frequency_stride=4, time_stride=4)
    with pytest.raises(AtmError, match="overlapping patches"):
        load_victim(str(tmp_path / "a"))
    whisper(tmp_path / "b", "WhisperForAudioClassification", use_weighted_layer_sum=True)
    with pytest.raises(AtmError, match="answers from the outputs of all layers"):
        load_victim(str(tmp_path / "b"))
    whisper(tmp_path / "c")
    (tmp_path / "c" / "preprocessor_config.json").write_text(json.dumps({"hop_length": 80}))
    with pytest.raises(AtmError, match=r"hop_length in preprocessor_config\.json is 80; it must be 160"):
        load_victim(str(tmp_path / "c"))
    (tmp_path / "c" / "preprocessor_config.json").unlink()
    config = json.loads((tmp_path / "c" / "config.json").read_text())
    (tmp_path / "c" / "config.json").write_text(json.dumps({**config, "encoder_layers": 3}))
    with pytest.raises(AtmError, match="lacks a tensor of Whisper's encoder"):
        load_victim(str(tmp_path / "c"))


@pytest.mark.shared
def test_the_published_whisper(shared_file):
    folder = weights("whisper-tiny.en")
    victim = load_victim(str(folder), image_size="80x100")
    model = transformers.WhisperModel.from_pretrained(folder, dtype=torch.float32).encoder.eval()
    check_every_layer(victim, model, 100, atol=1e-3)
    options = {"size": (80, 100), "channels": 1, "spectrogram": "log-mel", "label_by": r"/(\d)_"}
    digits = load(str(shared_file("data/fsdd.tar")), limit=450, **options)
    probed = probe.probed(victim, digits.subset(range(300)))
    test = digits.subset(range(300, 450))
    assert float((probed.logits(test).argmax(-1) == test.labels).float().mean()) > 0.95
