"""How much was rebuilt, in one of a few words: what was measured, before any flag takes a word back."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from privacy_metrics.leakage import SSIM_BAR, Bar, recognisable
from privacy_metrics.statistics import Interval, wilson_repeats

LEAKS, IN_PART, NOT_FOUND, INCONCLUSIVE = "leaks", "leaks in part", "no leak found", "inconclusive"
BEATS_BOUND = "beats the bound"  # the system or its evaluation is broken, so that no other word can be trusted
HERS = "hers anyway"  # what this adversary is told, or is meant to learn: no finding about her
GRAVEST_FIRST = (BEATS_BOUND, LEAKS, IN_PART, INCONCLUSIVE, NOT_FOUND, HERS)
# Above these fractions of recognisable pictures (lower end of the interval) a policy "leaks" or "leaks in part"; only
# with the upper end below the second can it be said that no leak was found.
MOST, SOME = 0.5, 0.05
FEWEST_IMAGES = 100  # no claim of harmlessness, and none about a difference, from fewer pictures


def recognised(worst: Tensor, blind: Tensor, bar: Bar = SSIM_BAR, picked: Tensor | None = None) -> Tensor:
    """``[R, B]`` bool: recognisable pictures that owe it to the tokens, and those that a recogniser picks out.

    Args:
        worst: ``[R, B]``, the leakage by the best of all attacks, by repeat and image.
        blind: the same without the tokens (`reports.run.Run.blind_repeats`).
        bar: of the kind of signal (`atm.signals.Signal.bar`).
        picked: ``[R, B]`` bool (`reports.recognition.picked`); None where no recogniser looked.
    """
    by_score = recognisable(worst, bar.recognisable) & (worst - blind >= bar.owed)
    return by_score if picked is None else by_score | picked


def copied(worst: Tensor, blind: Tensor, bar: Bar = SSIM_BAR) -> Tensor:
    """``[R, B]`` bool: pictures of which a near copy was made, out of the scores that `recognised` takes."""
    return (worst >= bar.near_copy) & (worst - blind >= bar.clear)


def measured_level(worst: Tensor, blind: Tensor, bar: Bar = SSIM_BAR, picked: Tensor | None = None) -> str:
    """The word for the scores that `recognised` takes.

    Both claims carry the burden of proof: a leak needs a rate that is surely above a threshold (or a near copy), its
    absence one that is surely below the tolerated rate, and not a single picture that owes its being recognisable to
    the tokens. All between is inconclusive.
    """
    hits = recognised(worst, blind, bar, picked)
    rate: Interval = wilson_repeats(hits)
    if rate.low > MOST:
        return LEAKS
    if rate.low > SOME or bool(torch.any(copied(worst, blind, bar))):
        return IN_PART
    return NOT_FOUND if rate.high < SOME and not bool(hits.any()) else INCONCLUSIVE


def gravest(levels: Iterable[str]) -> str:
    """The gravest of some words."""
    return min(levels, key=GRAVEST_FIRST.index)
