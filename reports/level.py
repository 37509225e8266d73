"""How much was rebuilt, as one of three words: what was measured, before any flag takes a word back."""

from __future__ import annotations

import torch
from torch import Tensor

from privacy_metrics.leakage import recognisable
from privacy_metrics.statistics import Interval, wilson_repeats

LEAKS, IN_PART, NOT_FOUND, INCONCLUSIVE = "leaks", "leaks in part", "no leak found", "inconclusive"
# Above these fractions of recognisable pictures (lower end of the interval) a policy "leaks" or "leaks in part".
MOST, SOME = 0.5, 0.05
# A plain picture looks much like the mean of all pictures, whatever the tokens say: only what is this much better (in
# SSIM) than without the tokens counts.
OWED = 0.1
# One near copy that owes this much is a leak in part however rare it is: nobody rebuilds a picture by luck.
NEAR_COPY, CLEAR = 0.8, 0.25


def recognised(worst: Tensor, blind: Tensor) -> Tensor:
    """``[R, B]`` bool: recognisable pictures that owe it to the tokens.

    Args:
        worst: ``[R, B]``, the best SSIM of any attack, by repeat and image.
        blind: the same without the tokens (`reports.run.Run.blind_repeats`).
    """
    return recognisable(worst) & (worst - blind >= OWED)


def copied(worst: Tensor, blind: Tensor) -> Tensor:
    """``[R, B]`` bool: pictures of which a near copy was made, out of the scores that `recognised` takes."""
    return (worst >= NEAR_COPY) & (worst - blind >= CLEAR)


def measured_level(worst: Tensor, blind: Tensor) -> str:
    """The word for the scores that `recognised` takes."""
    rate: Interval = wilson_repeats(recognised(worst, blind))
    if rate.low > MOST:
        return LEAKS
    if rate.low > SOME or bool(torch.any(copied(worst, blind))):
        return IN_PART
    return NOT_FOUND
