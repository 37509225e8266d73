"""What a run says about each policy, in sentences that hold up; users and the self-check are judged alike."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from atm.text import told_of
from privacy_metrics.recognition import FEWEST, gallery
from privacy_metrics.significance import trials_to_settle
from privacy_metrics.statistics import (
    Interval,
    bootstrap_mean,
    bootstrap_repeats,
    paired_difference,
    percentile_95,
    wilson_repeats,
)
from reports.case import Case
from reports.findings import Finding, findings
from reports.flag import Raised
from reports.flags import raised
from reports.level import (
    FEWEST_IMAGES,
    IN_PART,
    INCONCLUSIVE,
    LEAKS,
    NOT_FOUND,
    SOME,
    copied,
    gravest,
    measured_level,
    recognised,
)
from reports.recognition import Evidence, evidence, picked, recogniser_of
from reports.run import Run


@dataclass(frozen=True)
class Verdict:
    """The judgement on one policy.

    Attributes:
        run: what was judged.
        policy: its name.
        findings: on pixels, and on everything else that the run looked at.
        flags: why a harmless verdict would not be believed.
    """

    run: Run
    policy: str
    findings: tuple[Finding, ...]
    flags: tuple[Raised, ...]

    @property
    def level(self) -> str:
        """The gravest level of the findings, a word of `reports.level`."""
        return gravest(finding.level for finding in self.findings)

    @property
    def sentence(self) -> str:
        """For a reader who is no expert: what the findings of that level say."""
        return " ".join(finding.sentence for finding in self.findings if finding.level == self.level)

    @property
    def pixels(self) -> Finding:
        """The finding on pixels, or on what else the signal consists of."""
        return self.findings[0]

    @property
    def recognisable(self) -> Interval:
        """Fraction of images that some attack made recognisable thanks to the tokens (`reports.level.recognised`)."""
        return self.pixels.rate

    @cached_property
    def leakage(self) -> Interval:
        """Worst case over attacks per image, averaged over images."""
        worst = self.run.worst_repeats(self.policy)
        return bootstrap_mean(worst[0]) if len(worst) == 1 else bootstrap_repeats(worst)

    @cached_property
    def blind(self) -> float | None:
        """The same by blind baselines alone, which read no token; None where none ran."""
        values = self.run.blind_repeats(self.policy)
        return None if bool((values < 0).all()) else float(values.mean())

    @cached_property
    def tail(self) -> Interval:
        """95th percentile of it over images."""
        return bootstrap_repeats(self.run.worst_repeats(self.policy), percentile_95)

    @cached_property
    def highest(self) -> Interval:
        """The greatest of it; its interval cannot reach above what was seen."""
        return bootstrap_repeats(self.run.worst_repeats(self.policy), lambda values: values.max(-1))

    @cached_property
    def excess(self) -> Interval:
        """Leakage beyond what blind baselines reach, paired by image."""
        return paired_difference(self.run.worst_case(self.policy), self.run.blind_repeats(self.policy).mean(0))


def judge(run: Run, policy: str, against: tuple[Run, ...] = ()) -> Verdict:
    """The verdict on one policy of a run, held against other runs that shed light on it.

    A raised flag never softens a leak; it only takes harmlessness back.
    """
    flags = raised(Case(run, policy, against))
    return Verdict(run, policy, (_pixels(run, policy, flags), *findings(run, policy)), flags)


def verdicts(run: Run, against: tuple[Run, ...] = ()) -> list[Verdict]:
    """The verdict on every policy, in the order of the run."""
    return [judge(run, policy, against) for policy in run.policies]


def _pixels(run: Run, policy: str, flags: tuple[Raised, ...]) -> Finding:
    worst, blind = run.worst_repeats(policy), run.blind_repeats(policy)
    seen = picked(run, policy)
    hits = recognised(worst, blind, run.signal.bar, seen)
    rate, measured = wilson_repeats(hits), measured_level(worst, blind, run.signal.bar, seen)
    level = INCONCLUSIVE if measured == NOT_FOUND and flags else measured
    why = [flag.found for flag in flags[:1]]
    if measured == INCONCLUSIVE:
        why = [_what_would_settle(rate, int(hits.any(0).sum()), f"{run.signal.noun}s"), *why]
    clear = int(copied(worst, blind, run.signal.bar).any(0).sum())
    sentence = _sentence(run, level, rate, clear, why, evidence(run, policy))
    return Finding(run.signal.content, level, sentence, rate, None)


def _sentence(run: Run, level: str, rate: Interval, clear: int, why: list[str], evidence: Evidence | None) -> str:
    bar, denied, things = run.signal.bar, run.about.get("denied", []), f"{run.signal.noun}s"
    measured = (
        f"{rate.estimate * rate.n:.3g} of {rate.n} {things} could be rebuilt well enough to recognise them "
        f"({run.measured} of {bar.recognisable:g} or more, and at least {bar.owed:g} better than is possible without "
        f"the tokens{_seen(run, evidence)}; 95% interval {rate.low:.0%} to {rate.high:.0%})"
    )
    too_few = told_of(rate.n, f"{things} are too few to quote these numbers for others")
    few = f" {too_few}." if rate.n < FEWEST_IMAGES else ""
    name = run.about["threat"]["name"]
    cannot = f" The adversary “{name}” cannot run {', '.join(denied)}, for want of what they need." if denied else ""
    if level == LEAKS:
        return f"Do not call this private: {measured}.{few}"
    if level == IN_PART:
        beyond = f", {clear} of them almost as they were" if clear else ""
        return f"Not private: {measured}{beyond}, and nobody can tell beforehand which ones.{few}"
    if level == INCONCLUSIVE:
        return f"Nothing can be concluded: {measured}; {'; and '.join(why)}.{cannot}"
    return f"These attacks found no leak: {measured}.{cannot} That is no proof; a stronger attack may find one."


def _seen(run: Run, found: Evidence | None) -> str:
    """In words: what a recogniser added; nothing where none looked."""
    if found is None:
        return ""
    name, size = recogniser_of(run), gallery(found.by_score.n)
    if size < FEWEST:
        few = told_of(found.by_score.n, f"{run.signal.noun}s are too few for the recogniser {name} to tell apart")
        return f"; {few}"
    if not found.vouches:
        return f"; the recogniser {name} finds what reads no token too, and was not heard"
    score, picks = (f"{each.estimate * each.n:.3g}" for each in (found.by_score, found.by_recogniser))
    return f": {score}; or picked out of {size} without their colours by the recogniser {name}: {picks}"


def _what_would_settle(rate: Interval, recognised: int, things: str) -> str:
    """In words: how many more would take the interval to one side of the tolerated rate, if the rate stays."""
    needed = trials_to_settle(rate.estimate, SOME)
    unexplained = "the one that was recognised is" if recognised == 1 else f"the {recognised} that were recognised are"
    if needed is None:
        return f"the rate is the tolerated {SOME:.0%} itself, which no number of {things} would settle"
    if rate.estimate > SOME:
        return f"at this rate {max(needed - rate.n, 1)} more {things} would show a leak of more than {SOME:.0%}"
    if not recognised:
        return f"{FEWEST_IMAGES - rate.n} more {things} would settle it, if none of them is recognised either"
    if rate.high < SOME:
        return f"the rate is surely below {SOME:.0%}, but {unexplained} unexplained, which more {things} cannot settle"
    return (
        f"at this rate {max(needed - rate.n, 1)} more {things} would bring it surely below {SOME:.0%}, but "
        f"{unexplained} unexplained"
    )
