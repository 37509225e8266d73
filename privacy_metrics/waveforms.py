"""Sounds of which spectrograms could be, by torchaudio: phases by Griffin and Lim's algorithm (1984)."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

RATE, HOP, WINDOW = 16_000, 160, 400  # samples a second, from frame to frame, and in a frame
STEPS = 32
LOUDEST = 0.7  # of full scale, to which sounds are brought


@torch.no_grad()
def griffin_lim(power: Tensor) -> Tensor:
    """A sound for each spectrogram of energies; the same one every time.

    Args:
        power: ``[B, frequencies, frames]``, at least 0; frames of 400 samples, one every 160.

    Returns:
        ``[B, 160 * frames]`` float32 with a peak of `LOUDEST`; zeros where there is no energy.

    Raises:
        ImportError: torchaudio is missing.
    """
    from torchaudio.functional import griffinlim

    power = torch.cat((power, power[..., -1:]), -1)  # the frame that stands behind the last sample
    window, fft = torch.hann_window(WINDOW), 2 * (power.shape[1] - 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of the phases to begin with
        waves = griffinlim(power, window, fft, HOP, WINDOW, 2.0, STEPS, 0.99, None, True)
    peak = waves.abs().amax(1, keepdim=True)
    return torch.where(peak > 0, LOUDEST * waves / peak.clamp_min(1e-12), 0.0)


def energies(spectrograms: Tensor, decades: float) -> Tensor:
    """Energies above the least that a spectrogram of logarithms ``[B, bins, frames]`` in [0, 1] can tell, in its unit.

    Args:
        spectrograms: 0 to 1 are so many powers of ten.
        decades: how many.
    """
    return 10 ** (decades * spectrograms.cpu().float()) - 1


def log_mel_sound(spectrograms: Tensor, decades: float) -> Tensor:
    """``[B, 160 * frames]``: sounds of Whisper's log-mel spectrograms ``[B, bins, frames]``; see `griffin_lim`."""
    bands = energies(spectrograms, decades)
    return griffin_lim((torch.linalg.pinv(mel_filters(bands.shape[1])) @ bands).clamp_min(0))


@cache
def mel_filters(bins: int) -> Tensor:
    """``[bins, frequencies]``: Slaney's mel filters, as Whisper has them.

    Raises:
        ImportError: torchaudio is missing.
    """
    from torchaudio.functional import melscale_fbanks

    filters: Tensor = melscale_fbanks(WINDOW // 2 + 1, 0.0, RATE / 2, bins, RATE, norm="slaney", mel_scale="slaney")
    return filters.T.contiguous()
