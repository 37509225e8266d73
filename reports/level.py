"""How much was rebuilt, as one of three words: what was measured, before any flag takes a word back."""

from __future__ import annotations

import torch
from torch import Tensor

from privacy_metrics.leakage import recognisable
from privacy_metrics.statistics import Interval, wilson_repeats

LEAKS, IN_PART, NOT_FOUND, INCONCLUSIVE = "leaks", "leaks in part", "no leak found", "inconclusive"
# Above these fractions of recognisable pictures (lower end of the interval) a policy "leaks" or "leaks in part".
MOST, SOME = 0.5, 0.05
# One picture that is recognisable and this much better (in SSIM) than what the floors make of it is a leak in part
# however rare it is: a floor's luck is no leak, but one clear picture is a person whose picture is known.
CLEAR = 0.25


def clear_leaks(worst: Tensor, floors: Tensor) -> Tensor:
    """``[R, B]`` bool: recognisable pictures that owe it to the tokens, from SSIM of all attacks and of the floors."""
    return recognisable(worst) & (worst - floors >= CLEAR)


def measured_level(worst: Tensor, floors: Tensor) -> str:
    """The word for scores ``[R, B]`` by repeat and image: the best SSIM of any attack, and of the floors alone."""
    rate: Interval = wilson_repeats(recognisable(worst))
    if rate.low > MOST:
        return LEAKS
    if rate.low > SOME or bool(torch.any(clear_leaks(worst, floors))):
        return IN_PART
    return NOT_FOUND
