"""Spectrograms against those of transformers' own extractors, their scale, and the sounds that are made of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atm.errors import AtmError
from atm.signals import SIGNALS, SoundSignal
from atm.signals.spectrogram import RECIPES, recipe
from tests.sounds import voice

pytest.importorskip("torchaudio", reason="needs the extra audio (torchaudio), which is missing")
transformers = pytest.importorskip("transformers", reason="needs the extra hf (transformers), which is missing")


def test_whispers_is_that_of_its_feature_extractor():
    sound, made = voice(1, 0.6), recipe("log-mel")
    extractor = transformers.WhisperFeatureExtractor()
    theirs = extractor(
        sound, sampling_rate=16000, padding="max_length", max_length=16000, truncation=True, return_tensors="pt"
    )["input_features"][0]
    ours = made(torch.from_numpy(sound), 80, 100)
    torch.testing.assert_close((ours - made.mean) / made.std, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("seconds", [0.01, 0.6, 2.0])
def test_kaldis_is_that_of_asts_feature_extractor(seconds):
    sound, made = voice(1, seconds), recipe("fbank")
    padded = np.pad(sound, (0, max(400 - len(sound), 0)))  # the extractor itself fails on less than a frame
    theirs = transformers.ASTFeatureExtractor(max_length=96)(padded, sampling_rate=16000, return_tensors="pt")
    ours = made(torch.from_numpy(sound), 128, 96)
    torch.testing.assert_close((ours - made.mean) / made.std, theirs["input_values"][0].T, atol=1e-4, rtol=0)


@settings(max_examples=40)
@given(st.sampled_from(sorted(RECIPES)), st.sampled_from(["noise", "square", "click", "silence"]), st.integers(0, 99))
def test_no_sound_within_full_scale_leaves_the_scale(name, kind, seed):
    random, made = np.random.default_rng(seed), recipe(name)
    time = np.arange(4800) / 16000
    sound = {
        "noise": random.choice([-1.0, 1.0], len(time)),
        "square": np.sign(np.sin(2 * np.pi * random.uniform(20, 7900) * time) + 1e-9),
        "click": (np.arange(len(time)) == random.integers(len(time))).astype(float),
        "silence": np.zeros(len(time)),
    }[kind]
    bins = 128 if name == "fbank" else 80
    values = made.measure(torch.from_numpy(sound).float(), bins, 28)
    assert made.lowest <= float(values.min()) and float(values.max()) <= made.highest
    assert values.shape == (bins, 28)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_sound_made_of_a_spectrogram_has_that_spectrogram(name):
    made, bins = recipe(name), 128 if name == "fbank" else 80
    first = torch.stack([made(torch.from_numpy(voice(seed, 1.0)), bins, 96)[None] for seed in (1, 2)])
    waves = made.sound(first)
    assert waves.abs().amax(1).tolist() == pytest.approx([0.7, 0.7])
    assert torch.equal(waves, made.sound(first))
    again = torch.stack([made(wave, bins, 96)[None] for wave in waves])
    for ours, others in ((0, 1), (1, 0)):
        likeness = [_correlation(again[ours, 0, :, 5:-5], first[each, 0, :, 5:-5]) for each in (ours, others)]
        assert likeness[0] > 0.85 and likeness[0] > likeness[1] + 0.15, (name, likeness)


def _correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def test_a_silent_spectrogram_makes_no_sound():
    for made in RECIPES.values():
        assert not made.sound(torch.zeros(2, 1, 80, 20)).any()


def test_a_sound_is_kept_in_steps_of_an_eight_bit_value():
    kinds = [kind for kind in SIGNALS.values() if issubclass(kind, SoundSignal)]
    assert {kind.name for kind in kinds} == set(RECIPES) == {kind.recipe.name for kind in kinds}
    for kind in kinds:
        signals = torch.rand(3, 1, 16, 24)
        back = kind.restore(kind((1, 16, 24), (1, 12)).store(signals))
        assert back.shape == signals.shape and float((back - signals).abs().max()) <= 0.5 / 255 + 1e-6


def test_another_recipe_is_refused():
    with pytest.raises(AtmError, match="unknown spectrogram"):
        recipe("mel")
