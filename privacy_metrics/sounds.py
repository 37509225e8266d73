"""Spectrograms of sounds against each other: where something is heard, how alike, how far in cepstra, how intelligible.

All take arrays ``[B, 1, bins, frames]`` in [0, 1] on a logarithmic scale: 0 to 1 are `DECADES` powers of ten of energy.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from privacy_metrics.extras import extra
from privacy_metrics.metric import Metric, MetricUnavailable, as_pair, in_batches
from privacy_metrics.similarity import structure
from privacy_metrics.waveforms import RATE, log_mel_sound

DECADES = 13.0
SOUNDS = ("log-mel", "fbank")
HEARD = 0.02  # above the quietest value of a sound: frames in which no band is louder are silence
CEPSTRA = 13  # the first ones after the mean, as is usual for speech
TIMES = 3  # that a sound is repeated: intelligibility is measured over stretches of 0.4 s, which a word may not have


def heard(original: Tensor) -> Tensor:
    """``[B, frames]`` bool: frames in which something is louder than silence; all of them of a sound without any.

    Args:
        original: ``[B, 1, bins, frames]`` in [0, 1].
    """
    values = original[:, 0]
    louder = values.amax(1) - values.amin((1, 2))[:, None] > HEARD
    return louder | ~louder.any(1, keepdim=True)


@torch.no_grad()
def spectrogram_ssim(reconstruction: Tensor, original: Tensor) -> Tensor:
    """SSIM of each spectrogram, averaged over the frames in which the original is heard.

    Over all frames it would praise whoever knows that a recording ends in silence.

    Args:
        reconstruction: ``[B, 1, bins, frames]`` float in [0, 1].
        original: the same shape and range.

    Returns:
        ``[B]`` float32 on the CPU, from -1 to 1; 1 for identical ones.

    Raises:
        ValueError: shape, type or range is another, or they are too small.

    Examples:
        >>> original = torch.rand(2, 1, 80, 100)
        >>> spectrogram_ssim(original, original)
        tensor([1., 1.])
    """
    reconstruction, original = as_pair(reconstruction, original)

    def score(ours: Tensor, theirs: Tensor) -> Tensor:
        return _over_heard(structure(ours, theirs).mean(2)[:, 0], theirs).clamp(-1, 1)  # see `similarity.ssim`

    return in_batches(score, reconstruction, original, size=32)


@torch.no_grad()
def cepstral_distortion(reconstruction: Tensor, original: Tensor) -> Tensor:
    """Mel cepstral distortion in dB (Kubichek 1993) over the frames in which the original is heard, without warping.

    The cepstra are those of the mel bands themselves: coefficients 1 to 13 of their logarithms' cosine transform.

    Args:
        reconstruction: ``[B, 1, bins, frames]`` float in [0, 1].
        original: the same shape and range.

    Returns:
        ``[B]`` float32 on the CPU, at least 0; 0 for identical ones, lower means more alike.

    Raises:
        ValueError: shape, type or range is another.

    Examples:
        >>> original = torch.rand(2, 1, 80, 100)
        >>> cepstral_distortion(original, original)
        tensor([0., 0.])
    """
    reconstruction, original = as_pair(reconstruction, original)
    bins = original.shape[2]
    basis = _cosines(min(CEPSTRA, bins - 1), bins)

    def score(ours: Tensor, theirs: Tensor) -> Tensor:
        difference = torch.einsum("kf,bft->bkt", basis, 10 * DECADES * (ours - theirs)[:, 0])  # in dB
        return _over_heard((difference.square().sum(1) / bins).sqrt(), theirs)

    return in_batches(score, reconstruction, original, size=256)


@torch.no_grad()
def intelligibility(reconstruction: Tensor, original: Tensor) -> Tensor:
    """Short-time objective intelligibility (Taal et al. 2011) of the sounds that are made of log-mel spectrograms.

    Both sounds are made by Griffin and Lim's algorithm, so that only what is in the spectrograms counts, and are heard
    `TIMES` times in a row.

    Args:
        reconstruction: ``[B, 1, bins, frames]`` float in [0, 1].
        original: the same shape and range.

    Returns:
        ``[B]`` float32 on the CPU, about 0 to 1; 0 where the original has too little sound to tell.

    Raises:
        MetricUnavailable: pystoi or torchaudio is missing.
        ValueError: shape, type or range is another.
    """
    reconstruction, original = as_pair(reconstruction, original)
    try:
        import pystoi  # noqa: F401
        from torchmetrics.functional.audio.stoi import short_time_objective_intelligibility

        waves = [log_mel_sound(spectrograms[:, 0], DECADES) for spectrograms in (reconstruction, original)]
    except ImportError:
        raise MetricUnavailable(f"STOI needs pystoi and torchaudio; {extra('audio')}") from None
    ours, theirs = (wave.repeat(1, TIMES) for wave in waves)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sounds with too little in them, which count as 0
        found = short_time_objective_intelligibility(ours, theirs, RATE)
    sounds = (ours.abs().amax(1) > 0) & (theirs.abs().amax(1) > 0)
    return torch.where(sounds, found.float().nan_to_num(0.0), 0.0)


def _over_heard(frames: Tensor, original: Tensor) -> Tensor:
    weights = heard(original).float()
    return (frames * weights).sum(1) / weights.sum(1)


def _cosines(count: int, bins: int) -> Tensor:
    """``[count, bins]``: rows 1 to ``count`` of the orthonormal cosine transform (DCT-II)."""
    angle = math.pi / bins * torch.arange(1, count + 1)[:, None] * (torch.arange(bins) + 0.5)
    return math.sqrt(2 / bins) * angle.cos()


def _note(*shape: int) -> str:
    return "STOI is of sounds made of the spectrograms, originals too, each heard three times in a row"


SPECTROGRAM_SSIM = Metric("spectrogram_ssim", "spectrogram SSIM", "", True, spectrogram_ssim, signals=SOUNDS)
CEPSTRAL_DISTORTION = Metric("mcd", "mel cepstral distortion", "dB", False, cepstral_distortion, signals=SOUNDS)
STOI = Metric("stoi", "STOI", "", True, intelligibility, _note, signals=("log-mel",))
