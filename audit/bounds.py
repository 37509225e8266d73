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
from privacy_metrics.bounds import GaussianPrior, dfil, entropy_bound, unbiased_bound, van_trees_bound
from privacy_metrics.information import information_bound
from privacy_metrics.limits import skewed_limit
from reports.bounds import BOUNDS

PROBES = 4  # random directions of Hutchinson's estimate; their chance is part of the interval over images
POWER = 0.5  # of each real number on the air: symbols have power 1, halved between two parts
IMAGES = 64  # at which it is taken, at most
FEWEST = 50  # of them that an interval needs: of fewer, a tenth that leaks far more may show none
SOURCES = 1024  # auxiliary images from which prior and mixture are estimated, at most
NUMBERS = 3e7  # on the air, of all of them: a few copies of them, in double precision, are in memory
TOKENS_AT_ONCE = 2560  # of images whose gradients are taken together: a ViT-B keeps 1 MB for each
LEVEL = 0.95  # of confidence that the sample makes no bound too large
EACH = 1 - (1 - LEVEL) / 2  # where a bound rests on two estimates


def sources(link: Link) -> int:
    """How many auxiliary images tell the distribution of what is on the air; with fewer a bound is looser and holds."""
    each = (link.signal.places + 1) * 2 * link.codec.symbols_per_token
    return max(1, min(SOURCES, int(NUMBERS // each)))


def bounds(link: Link, threat: ThreatModel, victims: Tensor, auxiliary: Tensor, seed: int = 0) -> pd.DataFrame:
    """Lower bounds on the error of an adversary at a noisy tap, as rows of ``bounds.csv`` without their policy.

    Only white Gaussian noise on symbols is counted, none that a defence adds: an adversary who knew a defence's
    randomness would still meet the channel's, so leaving it out makes the bounds smaller.

    Args:
        link: the system.
        threat: whose tap it is.
        victims: ``[B, ...]``, the attacked signals.
        auxiliary: ``[N, ...]``, for what needs a distribution.
        seed: of directions and of the defence.

    Returns:
        Columns ``bound``, ``value`` (mean squared error per pixel; NaN where there is none) and ``note``.
    """
    if reason := unbounded(link, threat, len(victims)):
        return _none(reason)
    victims, auxiliary = victims.to(link.device), auxiliary[: sources(link)].to(link.device)
    variance = noise_variance(link, threat)
    assert variance is not None
    leakage = image_dfil(link, victims[:IMAGES], variance, seed)
    if not bool((leakage > 0).all()):
        return _none("no gradient passes the codec, so its Fisher information is not known")
    return _rows(link, auxiliary, variance, leakage, seed)


def unbounded(link: Link, threat: ThreatModel, attacked: int) -> str:
    """Why there will be no bound, as far as it is known before anything is computed; empty where there may be one.

    Args:
        link: the system.
        threat: whose tap it is.
        attacked: number of attacked signals.
    """
    if not link.signal.smooth:
        return f"no {link.signal.noun} can be changed by a little, so nothing is differentiated"
    if noise_variance(link, threat) is None:
        return "without white Gaussian noise on the symbols of this tap nothing is bounded"
    if attacked < FEWEST:
        return f"an interval needs {FEWEST} attacked {link.signal.noun}s, not {attacked}"
    return ""


def _none(reason: str) -> pd.DataFrame:
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
    signs, draw = (torch.Generator().manual_seed(seed) for _ in range(2))
    at_once = max(1, TOKENS_AT_ONCE // (link.signal.places + 1))
    parts = [_traces(link, part, signs, draw, probes) for part in images.split(at_once)]
    total = torch.cat(parts)
    return dfil(total / probes, images[0].numel(), variance)


def _traces(link: Link, images: Tensor, signs: torch.Generator, draw: torch.Generator, probes: int) -> Tensor:
    """``[B]`` of sums over so many probes of ``|J^T v|^2``; 0 where the codec lets no gradient through."""
    x = images.clone().requires_grad_()
    total = torch.zeros(len(images), dtype=torch.float64)
    with torch.enable_grad():
        symbols = torch.view_as_real(link.send(x, draw)[1])
        if not symbols.requires_grad:
            return total
        for probe in range(probes):
            v = torch.randint(0, 2, symbols.shape, generator=signs).to(symbols) * 2 - 1
            (gradient,) = torch.autograd.grad(symbols, x, v, retain_graph=probe + 1 < probes)
            total += gradient.cpu().double().square().flatten(1).sum(1)
    return total


@torch.no_grad()
def symbol_information(link: Link, images: Tensor, variance: float, seed: int = 0, level: float = LEVEL) -> float:
    """Upper confidence limit in nats of what the symbols of one image, on average, tell about it.

    The token count is not counted: symbols are those of an image whose count is known.

    Raises:
        ValueError: an image has more tokens than patches, or more than the channel's power.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = [link.send(part, generator)[:2] for part in images.split(64)]
    symbols = torch.cat([torch.view_as_real(part[1]).flatten(1) for part in parts])
    lengths = torch.cat([part[0].lengths for part in parts])
    image = torch.arange(len(images)).repeat_interleave(lengths)
    return information_bound(symbols, image, variance, POWER, link.signal.places + parts[0][0].prefix, level)


def _rows(link: Link, auxiliary: Tensor, variance: float, leakage: Tensor, seed: int) -> pd.DataFrame:
    pixels = auxiliary[0].numel()
    trusted = f"{LEVEL:.0%} confidence over {len(leakage)} images"
    single = skewed_limit(leakage, LEVEL)
    rows = [("unbiased", unbiased_bound(single), f"mean dFIL at most {single:.3g}, {trusted}")]
    try:
        prior = GaussianPrior.of(link.signal.to_units(auxiliary), EACH)
        information = symbol_information(link, auxiliary, variance, seed, EACH)
    except ValueError as error:
        rows += [(name, math.nan, str(error)) for name in ("any attacker", "entropy")]
        return pd.DataFrame(rows, columns=["bound", "value", "note"])
    mean = skewed_limit(leakage, EACH)
    rows += [
        (
            "any attacker",
            van_trees_bound(mean, prior.information),
            f"mean dFIL at most {mean:.3g} and Fisher information of Gaussian patches at most "
            f"{prior.information:.3g} per pixel, {trusted}; no guarantee, for pictures are not Gaussian",
        ),
        (
            "entropy",
            entropy_bound(prior.entropy_power, information, pixels),
            f"at most {information / math.log(2):.0f} bits an image through the symbols, for {pixels} pixel values "
            f"({LEVEL:.0%} confidence over {len(auxiliary)} images); no guarantee, for pictures are not Gaussian",
        ),
    ]
    return pd.DataFrame(rows, columns=["bound", "value", "note"])
