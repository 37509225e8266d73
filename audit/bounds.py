"""Bounds for a real link: its Jacobian through encoder, merging, defence and codec, and the entropy of its symbols."""

from __future__ import annotations

import math

import pandas as pd
import torch
from torch import Tensor

from atm import channels
from atm.channels import Awgn
from atm.link import Link
from atm.threat import ThreatModel
from attacks.base import to_patches
from privacy_metrics.bounds import (
    GaussianPrior,
    dfil,
    entropy_bound,
    mixture_information,
    unbiased_bound,
    van_trees_bound,
)
from reports.bounds import BOUNDS

PROBES = 4  # random directions of Hutchinson's estimate
IMAGES = 32  # at which it is taken
SOURCES = 512  # auxiliary images from which prior and mixture are estimated


def bounds(link: Link, threat: ThreatModel, victims: Tensor, auxiliary: Tensor, seed: int = 0) -> pd.DataFrame:
    """Lower bounds on the error of an adversary at a noisy tap, as rows of ``bounds.csv`` without their policy.

    Only white Gaussian noise on symbols is counted, none that a defence adds: an adversary who knew a defence's
    randomness would still meet the channel's, so leaving it out makes the bounds smaller.

    Args:
        link: the system.
        threat: whose tap it is.
        victims: ``[B, 3, H, W]``, the attacked images.
        auxiliary: ``[N, 3, H, W]``, for what needs a distribution.
        seed: of directions and of the defence.

    Returns:
        Columns ``bound``, ``value`` (mean squared error per pixel; NaN where there is none) and ``note``.
    """
    variance = noise_variance(link, threat)
    reason = "without white Gaussian noise on the symbols of this tap nothing is guaranteed"
    if variance is not None:
        leakage = image_dfil(link, victims[:IMAGES], variance, seed)
        if bool((leakage > 0).all()):
            return _rows(link, victims, auxiliary[:SOURCES], variance, leakage, seed)
        reason = "no gradient passes the codec, so its Fisher information is not known"
    return pd.DataFrame([{"bound": name, "value": math.nan, "note": reason} for name in BOUNDS])


def noise_variance(link: Link, threat: ThreatModel) -> float | None:
    """Variance of the noise on each real number on her antenna, or None where it is not white Gaussian."""
    own = threat.tap == "eavesdropper" and threat.channel is not None
    channel = channels.parse(str(threat.channel)) if own else link.channel
    return 10 ** (-channel.snr_db / 10) / 2 if isinstance(channel, Awgn) else None


def image_dfil(link: Link, images: Tensor, variance: float, seed: int = 0, probes: int = PROBES) -> Tensor:
    """``[B]`` dFIL of each image at the symbols on the air; 0 where the codec lets no gradient through.

    Hutchinson's estimate: for random signs v over the real numbers on the air, ``E |J^T v|^2 = Tr(J^T J)``. An image's
    symbols depend on that image alone, so one backward pass serves a batch. Which tokens merge is taken as it is, for a
    small change of the image merges the same ones.
    """
    generator = torch.Generator().manual_seed(seed)
    x = images.clone().requires_grad_()
    with torch.enable_grad():
        symbols = torch.view_as_real(link.send(x, torch.Generator().manual_seed(seed))[1])
        total = torch.zeros(len(images), dtype=torch.float64)
        if not symbols.requires_grad:
            return total
        for probe in range(probes):
            signs = torch.randint(0, 2, symbols.shape, generator=generator).to(symbols) * 2 - 1
            (gradient,) = torch.autograd.grad(symbols, x, signs, retain_graph=probe + 1 < probes)
            total += gradient.double().square().flatten(1).sum(1)
    return dfil(total / probes, images[0].numel(), variance)


@torch.no_grad()
def symbol_information(link: Link, images: Tensor, variance: float, seed: int = 0) -> float:
    """Upper bound in nats on what the symbols of one image, on average, tell about it.

    Tokens are taken together as one mixture of Gaussians, each with its own share of the information (entropy is
    subadditive over tokens), so the number of samples is that of tokens and not of images.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = [link.send(part, generator) for part in images.split(64)]
    symbols = torch.cat([torch.view_as_real(part[1]).flatten(1) for part in parts])
    return mixture_information(symbols, variance) * len(symbols) / len(images)


def _rows(link: Link, victims: Tensor, auxiliary: Tensor, variance: float, leakage: Tensor, seed: int) -> pd.DataFrame:
    prior = GaussianPrior.of(to_patches(auxiliary, link.encoder.patch_grid).flatten(0, 1))
    information = symbol_information(link, auxiliary, variance, seed)
    unbiased = unbiased_bound(leakage)
    pixels = victims[0].numel()
    values = {
        "unbiased": (
            float(unbiased.mean()),
            f"dFIL {float(leakage.mean()):.3g} on average over {len(leakage)} images, {PROBES} directions each",
        ),
        "any attacker": (
            van_trees_bound(leakage, prior.information),
            f"Fisher information of the prior {prior.information:.3g} per pixel",
        ),
        "entropy": (
            entropy_bound(prior.entropy_power, information, pixels),
            f"at most {information / math.log(2):.0f} bits an image through the symbols, for {pixels} pixel values",
        ),
    }
    return pd.DataFrame([{"bound": name, "value": value, "note": note} for name, (value, note) in values.items()])
