"""Metrics of sounds against other implementations, known answers, and what they must not care about."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from privacy_metrics.registry import METRICS, metrics_of
from privacy_metrics.sounds import DECADES, cepstral_distortion, heard, intelligibility, spectrogram_ssim

SILENCE = 0.2


def sounds(seed: int, count: int = 3, ends: int = 20) -> torch.Tensor:
    """``[count, 1, 24, 32]``: something for some frames, then silence."""
    generator = torch.Generator().manual_seed(seed)
    made = 0.3 + 0.6 * torch.rand(count, 1, 24, 32, generator=generator)
    made[..., ends:] = SILENCE
    return made


def test_frames_are_heard_in_which_some_band_is_louder_than_silence():
    made = sounds(0)
    made[1] = 0.4  # a plain one: nothing is louder than anything
    found = heard(made)
    assert found[0].tolist() == [True] * 20 + [False] * 12 and bool(found[1].all())


def test_ssim_is_that_of_another_implementation_over_the_heard_frames():
    original, rebuilt = sounds(0), (sounds(0) + 0.2 * sounds(1)).clamp(0, 1)
    for ours, theirs, score in zip(rebuilt[:, 0], original[:, 0], spectrogram_ssim(rebuilt, original), strict=True):
        pair = [np.pad(each.numpy().astype(float), 5, mode="reflect") for each in (ours, theirs)]
        _, full = structural_similarity(
            *pair, data_range=1.0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
        )
        assert float(score) == pytest.approx(full[5:-5, 5:25].mean(), abs=1e-3)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(8, 32))
def test_what_is_said_of_silence_far_from_the_sound_does_not_count(seed, ends):
    original, rebuilt = sounds(seed, ends=ends), sounds(seed + 1, ends=ends)
    other = rebuilt.clone()
    other[..., min(ends + 6, 32) :] = 0.9  # beyond the reach of a window that stands on sound
    torch.testing.assert_close(spectrogram_ssim(rebuilt, original), spectrogram_ssim(other, original))
    torch.testing.assert_close(cepstral_distortion(rebuilt, original), cepstral_distortion(other, original))


def test_the_mean_of_sounds_is_no_good_answer_and_a_copy_is():
    made = sounds(3, 30)
    mean = made.mean(0, keepdim=True).expand_as(made)
    assert float(spectrogram_ssim(mean, made).mean()) < 0.3 and spectrogram_ssim(made, made).min() == 1


def test_cepstral_distortion_is_the_difference_of_cepstra_in_decibels():
    original, rebuilt = sounds(0), sounds(1)
    expected = []
    for ours, theirs in zip(rebuilt[:, 0].double().numpy(), original[:, 0].double().numpy(), strict=True):
        cepstra = [scipy.fft.dct(np.log(10) * DECADES * each, axis=0, norm="ortho") for each in (ours, theirs)]
        difference = (cepstra[0] - cepstra[1])[1:14, :20] / np.sqrt(2 * 24)  # as coefficients of a cosine series
        expected.append((10 / np.log(10) * np.sqrt(2 * (difference**2).sum(0))).mean())
    assert cepstral_distortion(rebuilt, original).tolist() == pytest.approx(expected, rel=1e-4)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.floats(-0.15, 0.15))
def test_loudness_is_no_distortion(seed, louder):
    made = 0.25 + 0.5 * sounds(seed)
    assert float(cepstral_distortion(made + louder, made).max()) < 1e-3


def test_intelligibility_falls_with_noise_and_is_nothing_for_silence():
    pytest.importorskip("torchaudio", reason="needs the extra audio (torchaudio), which is missing")
    pytest.importorskip("pystoi", reason="needs the extra audio (pystoi), which is missing")
    from atm.signals.spectrogram import recipe
    from tests.sounds import voice

    made = torch.stack([recipe("log-mel")(torch.from_numpy(voice(seed, 0.7)), 80, 100)[None] for seed in (1, 2)])
    noise = torch.randn(made.shape, generator=torch.Generator().manual_seed(0))
    scores = [intelligibility((made + level * noise).clamp(0, 1), made) for level in (0.0, 0.1, 0.3)]
    assert float(scores[0].min()) > 0.99
    assert bool((scores[0] > scores[1]).all()) and bool((scores[1] > scores[2]).all())
    assert intelligibility(torch.zeros_like(made), made).tolist() == [0, 0]
    assert intelligibility(made, torch.zeros_like(made)).tolist() == [0, 0]


def test_sounds_are_scored_by_their_own_metrics():
    assert metrics_of("log-mel") == ["spectrogram_ssim", "psnr", "mcd", "stoi"]
    assert metrics_of("fbank") == ["spectrogram_ssim", "psnr", "mcd"]
    assert metrics_of("image") == ["ssim", "psnr", "lpips", "dists"] and not METRICS["mcd"].higher_is_leakier


def test_what_fits_no_metric_is_refused():
    with pytest.raises(ValueError, match="at least 6"):
        spectrogram_ssim(torch.rand(1, 1, 4, 32), torch.rand(1, 1, 4, 32))
    with pytest.raises(ValueError, match="shapes differ"):
        cepstral_distortion(torch.rand(1, 1, 8, 32), torch.rand(1, 1, 8, 30))
