"""What a run says about each policy, in a sentence that holds up."""

from __future__ import annotations

from dataclasses import dataclass

from attacks import FLOORS
from privacy_metrics.leakage import RECOGNISABLE_SSIM, recognisable
from privacy_metrics.statistics import Interval, bootstrap_mean, paired_difference, wilson
from reports.run import Run

FEWEST_IMAGES = 100
# Above these fractions of recognisable pictures (lower end of the interval) a policy "leaks" or "leaks in part".
MOST, SOME = 0.5, 0.05


@dataclass(frozen=True)
class Verdict:
    """The judgement on one policy.

    Attributes:
        policy: its name.
        level: ``leaks``, ``leaks in part``, ``no leak found`` or ``inconclusive``.
        sentence: for a reader who is no expert.
        leakage: worst-case SSIM per image, averaged over images.
        recognisable: fraction of images that some attack rebuilt to at least `RECOGNISABLE_SSIM`.
        excess: leakage beyond what the floors reach without reading the tokens' content, paired by image.
        flags: why a harmless verdict would not be believed.
    """

    policy: str
    level: str
    sentence: str
    leakage: Interval
    recognisable: Interval
    excess: Interval
    flags: tuple[str, ...]


def judge(run: Run, policy: str) -> Verdict:
    """The verdict on one policy of a run. A raised flag never softens a leak; it only takes harmlessness back."""
    worst = run.worst_case(policy)
    seen = recognisable(worst)
    rate = wilson(int(seen.sum()), len(seen))
    excess = paired_difference(worst, run.worst_case(policy, floors_only=True))
    flags = _flags(run, policy, excess)
    level = _level(rate, flags)
    return Verdict(
        policy, level, _sentence(level, rate, int(seen.sum()), flags), bootstrap_mean(worst), rate, excess, flags
    )


def verdicts(run: Run) -> list[Verdict]:
    """The verdict on every policy, in the order of the run."""
    return [judge(run, policy) for policy in run.policies]


def _level(rate: Interval, flags: tuple[str, ...]) -> str:
    if rate.low > MOST:
        return "leaks"
    if rate.low > SOME:
        return "leaks in part"
    return "inconclusive" if flags else "no leak found"


def _flags(run: Run, policy: str, excess: Interval) -> tuple[str, ...]:
    flags = []
    images = len(run.worst_case(policy))
    if images < FEWEST_IMAGES:
        flags.append(f"only {images} images were attacked; a claim about privacy needs at least {FEWEST_IMAGES}")
    missing = [a for a in run.about["attacks"] if not len(run.values(policy, a, "ssim"))]
    if missing:
        flags.append(f"unfinished: {', '.join(missing)}; go on with --resume")
    if not [a for a in run.attacks if a not in FLOORS]:
        flags.append("no attack was run, only the floors")
    elif not excess.low > 0:
        flags.append("no attack beats the floors, so suspect the attacks before trusting the policy")
    if run.about.get("denied"):
        flags.append(f"not run, because the threat model denies what they need: {', '.join(run.about['denied'])}")
    return tuple(flags)


def _sentence(level: str, rate: Interval, count: int, flags: tuple[str, ...]) -> str:
    measured = (
        f"{count} of {rate.n} pictures could be rebuilt well enough to recognise them "
        f"(SSIM of {RECOGNISABLE_SSIM:g} or more; 95% interval {rate.low:.0%} to {rate.high:.0%})"
    )
    if level == "leaks":
        return f"Do not call this private: {measured}."
    if level == "leaks in part":
        return f"Not private: {measured}, and nobody can tell beforehand which ones."
    if level == "inconclusive":
        return f"Nothing can be concluded: {measured}, but {flags[0]}."
    return f"These attacks found no leak: {measured}. That is no proof; a stronger attack may find one."
