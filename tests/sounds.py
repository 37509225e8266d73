"""Sounds and models of sound for tests: small, drawn from a seed, written by the libraries that people use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

RATE = 16_000
NAMES = [*"abcdefgh", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "oh"]


def voice(seed: int, seconds: float = 0.5, pitch: float | None = None) -> np.ndarray:
    """Harmonics under moving formants, louder and softer, with breath in it; ``[n]`` float32 within full scale."""
    random = np.random.default_rng(seed)
    place = np.linspace(0, 5, round(RATE * seconds))

    def curve(low: float, high: float) -> np.ndarray:
        return np.interp(place, range(6), random.uniform(low, high, 6))

    f0 = (pitch or random.uniform(100, 250)) * curve(0.75, 1.25)
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    formants = [curve(300, 1000), curve(900, 2500), curve(2000, 3800)]
    parts = [sum(np.exp(-(((k * f0 - f) / 250) ** 2)) for f in formants) * np.sin(k * phase) for k in range(1, 25)]
    breath = curve(-0.5, 0.5).clip(0) * random.standard_normal(len(place))
    swell = np.sin(np.pi * place / 5) ** 0.5 * curve(0.1, 1)
    made = swell * (np.sum(parts, 0) + breath) + 1e-3 * random.standard_normal(len(place))
    return (0.5 * made / np.abs(made).max()).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> Path:
    """A file of the kind that its suffix says; samples ``[n]`` or ``[n, channels]``."""
    soundfile = pytest.importorskip("soundfile", reason="needs the extra audio (soundfile), which is missing")
    pytest.importorskip("torchaudio", reason="needs the extra audio (torchaudio), which is missing")
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def folder(root: Path, count: int = 60, speakers: int = 6) -> Path:
    """``{word}_{speaker}_{number}.wav`` of two words, told by their pitch, in one folder."""
    for number in range(count):
        word, speaker = number % 2, number // 2 % speakers
        samples = voice(number, 0.2, (110.0, 260.0)[word] * (1 + 0.03 * speaker))
        write(root / f"{word}_s{speaker}_{number}.wav", samples)
    return root


def whisper(path: Path, kind: str = "WhisperModel", bins: int = 16, **options: object) -> object:
    """A small Whisper with random weights, saved as transformers does; and the model itself."""
    transformers = pytest.importorskip("transformers", reason="needs the extra hf (transformers), which is missing")
    import torch

    shape = {
        "d_model": 24, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 3,
        "decoder_attention_heads": 3, "encoder_ffn_dim": 48, "decoder_ffn_dim": 8, "num_mel_bins": bins,
        "max_source_positions": 24, "max_target_positions": 8, "vocab_size": 20, "pad_token_id": 0, "bos_token_id": 1,
        "eos_token_id": 2, "decoder_start_token_id": 1, "classifier_proj_size": 7,
    }  # fmt: skip
    torch.manual_seed(0)
    model = getattr(transformers, kind)(transformers.WhisperConfig(**(shape | options))).eval()
    with torch.no_grad():  # initial biases are zero; make every term count
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    model.save_pretrained(path)
    return model


def speaking(path: Path, **options: object) -> tuple[object, object]:
    """A small Whisper with a decoder, random weights and `NAMES` as its words; transformers' model, and its words."""
    tokenizers = pytest.importorskip("tokenizers", reason="needs the extra hf (tokenizers), which is missing")
    import torch

    model = whisper(path, "WhisperForConditionalGeneration", **({"max_target_positions": 16} | options))
    with torch.no_grad():  # what is heard counts for more than what was written so far
        for layer in model.model.decoder.layers:
            layer.encoder_attn.out_proj.weight.mul_(30)
    model.save_pretrained(path)
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(dict(zip(NAMES, range(20), strict=True)), unk_token="a"))
    words.add_special_tokens(["a", "b", "c"])  # padding, beginning and end
    words.save(str(path / "tokenizer.json"))
    return model, words
