"""What a run says about each policy, in a sentence that holds up."""

from __future__ import annotations

from dataclasses import dataclass

from privacy_metrics.leakage import RECOGNISABLE_SSIM
from privacy_metrics.statistics import (
    Interval,
    bootstrap_mean,
    bootstrap_repeats,
    paired_difference,
    percentile_95,
    wilson_repeats,
)
from reports.case import Case
from reports.flags import FEWEST_IMAGES, Raised, raised
from reports.level import IN_PART, INCONCLUSIVE, LEAKS, NOT_FOUND, copied, measured_level, recognised
from reports.run import Run


@dataclass(frozen=True)
class Verdict:
    """The judgement on one policy.

    Attributes:
        policy: its name.
        level: ``leaks``, ``leaks in part``, ``no leak found`` or ``inconclusive``.
        sentence: for a reader who is no expert.
        leakage: worst-case SSIM per image, averaged over images.
        tail: 95th percentile of it over images.
        highest: the greatest of it; its interval cannot reach above what was seen.
        recognisable: fraction of images that some attack rebuilt to at least `RECOGNISABLE_SSIM`, thanks to the tokens
            (`reports.level.recognised`).
        excess: leakage beyond what the floors reach without reading the tokens' content, paired by image.
        flags: why a harmless verdict would not be believed.
    """

    policy: str
    level: str
    sentence: str
    leakage: Interval
    tail: Interval
    highest: Interval
    recognisable: Interval
    excess: Interval
    flags: tuple[Raised, ...]


def judge(run: Run, policy: str, against: tuple[Run, ...] = ()) -> Verdict:
    """The verdict on one policy of a run, held against other runs that shed light on it.

    A raised flag never softens a leak; it only takes harmlessness back.
    """
    worst, blind = run.worst_repeats(policy), run.blind_repeats(policy)
    rate = wilson_repeats(recognised(worst, blind))
    flags = raised(Case(run, policy, against))
    level = measured_level(worst, blind)
    if level == NOT_FOUND and flags:
        level = INCONCLUSIVE
    clear = int(copied(worst, blind).any(0).sum())
    return Verdict(
        policy=policy,
        level=level,
        sentence=_sentence(level, rate, clear, flags),
        leakage=bootstrap_mean(worst[0]) if len(worst) == 1 else bootstrap_repeats(worst),
        tail=bootstrap_repeats(worst, percentile_95),
        highest=bootstrap_repeats(worst, lambda values: values.max(-1)),
        recognisable=rate,
        excess=paired_difference(run.worst_case(policy), run.worst_case(policy, floors_only=True)),
        flags=flags,
    )


def verdicts(run: Run, against: tuple[Run, ...] = ()) -> list[Verdict]:
    """The verdict on every policy, in the order of the run."""
    return [judge(run, policy, against) for policy in run.policies]


def _sentence(level: str, rate: Interval, clear: int, flags: tuple[Raised, ...]) -> str:
    measured = (
        f"{rate.estimate * rate.n:.3g} of {rate.n} pictures could be rebuilt well enough to recognise them "
        f"(SSIM of {RECOGNISABLE_SSIM:g} or more; 95% interval {rate.low:.0%} to {rate.high:.0%})"
    )
    few = f" {rate.n} pictures are too few to quote these numbers for others." if rate.n < FEWEST_IMAGES else ""
    if level == LEAKS:
        return f"Do not call this private: {measured}.{few}"
    if level == IN_PART:
        beyond = f", {clear} of them almost as they were" if clear else ""
        return f"Not private: {measured}{beyond}, and nobody can tell beforehand which ones.{few}"
    if level == INCONCLUSIVE:
        return f"Nothing can be concluded: {measured}, but {flags[0].found}."
    return f"These attacks found no leak: {measured}. That is no proof; a stronger attack may find one."
