"""What is judged beside pixels: labels, identity, membership, questions, retrieval, position, traffic, and bounds.

Each has a level of its own, and the headline of a verdict is the gravest (`reports.verdict`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from atm.threat import Knowledge, ThreatModel
from privacy_metrics.significance import SURE, holm, paired_p_value
from privacy_metrics.statistics import Interval, bootstrap_mean, wilson_repeats
from reports.harm import INQUIRED, LABEL, RANKS, SENT, TRAFFIC, Rate, meant, rates
from reports.level import (
    BEATS_BOUND,
    FEWEST_IMAGES,
    GRAVEST_FIRST,
    HERS,
    IN_PART,
    INCONCLUSIVE,
    LEAKS,
    MOST,
    NOT_FOUND,
    SOME,
    measured_level,
    recognised,
)
from reports.recognition import SEEN
from reports.run import Run

TOLERATED = 0.25  # of the way from chance to certainty: above it a rate may lie, no leak is ruled out


@dataclass(frozen=True)
class Wording:
    """How a rate on one subject is told.

    Attributes:
        those: of what it is a share.
        without: what is reached without the tokens.
        meant: the same, where the adversary is meant to learn the label.
        hers: the same, where it is that label.
    """

    those: str = "{noun}s"
    without: str = "chance is {chance}"
    meant: str = "the right label alone leads to {chance}"
    hers: str = "the answer itself is right for {chance}"

    @classmethod
    def always(cls, without: str, those: str = those) -> Wording:
        """Whatever she is meant to learn."""
        return cls(those, without, without, without)


WORDING = {
    "membership": Wording.always("{chance} are false alarms by definition"),
    "questions": Wording.always(
        "without the tokens she is right about {chance}", "the {number} {noun}s that this can be asked of"
    ),
}
"""By what a finding is about; of all else as a label is told."""


@dataclass(frozen=True)
class Finding:
    """The judgement on one thing that tokens can give away.

    Attributes:
        about: ``pixels`` (of sentences ``words``), ``label``, ``identity``, ``membership``, ``questions``,
            ``retrieval``, ``position``, ``traffic`` or ``bound``.
        level: a word of `reports.level`.
        sentence: for a reader who is no expert; true by itself.
        rate: what was measured, with its interval.
        chance: what is reached without the tokens; None where nothing like it is known.
    """

    about: str
    level: str
    sentence: str
    rate: Interval
    chance: float | None


def findings(run: Run, policy: str) -> list[Finding]:
    """Everything beside pixels that a run looked at under one policy."""
    looks = (bound, label, traffic, identity, membership, questions, retrieval, position)
    found = (look(run, policy) for look in looks)
    return [finding for finding in found if finding is not None]


def label(run: Run, policy: str) -> Finding | None:
    """Whether tokens tell the label beyond what their number does; for who gives the answer it is no finding.

    What a recogniser sees in reconstructions can only make it graver: where it sees none, nobody has read the tokens.
    """

    def wanted(rate: Rate) -> bool:
        return rate.metric == LABEL and rate.inference != TRAFFIC

    read = _of_rates(run, policy, "label", wanted, "the label is read")
    seen = _of_rates(run, policy, "label", lambda r: r.metric == SEEN, "the label is seen")
    found = [read, None if seen is None or seen.level == NOT_FOUND else seen]
    return min((f for f in found if f is not None), key=lambda f: GRAVEST_FIRST.index(f.level), default=None)


def traffic(run: Run, policy: str) -> Finding | None:
    """Whether the number of tokens alone tells the label."""
    words = "the number of tokens alone tells the label"
    return _of_rates(run, policy, "traffic", lambda r: r.metric == LABEL and r.inference == TRAFFIC, words)


def identity(run: Run, policy: str) -> Finding | None:
    """Whether tokens tell which of some candidate pictures was sent."""
    return _of_rates(
        run, policy, "identity", lambda r: r.metric in RANKS, f"the {run.signal.noun} is told among candidates"
    )


def membership(run: Run, policy: str) -> Finding | None:
    """Whether tokens tell that a picture which the adversary holds was sent, and another of its class was not."""
    thing = run.signal.noun
    words = f"that a {thing} which the adversary holds was sent is told"
    return _of_rates(run, policy, "membership", lambda r: r.metric == SENT, words)


def questions(run: Run, policy: str) -> Finding | None:
    """Whether the victim's own language model tells the adversary what she asks."""
    words = "the language model tells the adversary what she asks"
    return _of_rates(run, policy, "questions", lambda r: r.metric in INQUIRED, words)


def retrieval(run: Run, policy: str) -> Finding | None:
    """Whether tokens lead to a picture of the adversary's own that is nearly the victim's."""
    scores = run.repeated(policy, run.baselines.retrieval, run.measure)
    if not scores.numel():
        return None
    blind = run.blind_repeats(policy)
    repeats = min(len(scores), len(blind))
    scores, blind = scores[:repeats], blind[:repeats]
    bar = run.signal.bar
    level, hits = measured_level(scores, blind, bar), recognised(scores, blind, bar)
    rate = wilson_repeats(hits)
    if level == NOT_FOUND and rate.n < FEWEST_IMAGES:
        level = INCONCLUSIVE
    drawn = run.repeated(policy, run.baselines.random, run.measure)[:repeats]
    chance = float(recognised(drawn, blind[: len(drawn)], bar).double().mean()) if drawn.numel() else None
    by_chance = "" if chance is None else f", {chance:.0%} by drawing one"
    sentence = (
        f"{_opening(level)}the tokens lead to a {run.signal.noun} that the adversary has and that is much like the "
        f"victim's for {_share(rate)} of {run.signal.noun}s{by_chance}."
    )
    return Finding("retrieval", level, sentence, rate, chance)


def position(run: Run, policy: str) -> Finding | None:
    """Whether the tokens alone tell which patches they stand for, where that is denied."""
    shares = {a: run.values(policy, a, "placed") for a in run.attacks}
    best = max((a for a in shares if shares[a].numel()), key=lambda a: float(shares[a].mean()), default=None)
    if best is None:
        return None
    rate, guess = bootstrap_mean(shares[best]), run.values(policy, best, "placed_blindly")
    chance = float(guess.mean())
    found = f"{_share(rate)} of the {run.signal.parts}"
    measured = f"the tokens alone tell of {found} which token they are in, {chance:.0%} by guessing"
    if told_places(run, policy):
        return Finding("position", HERS, f"The adversary is told where tokens stood; {measured}.", rate, chance)
    # What a patch's place alone makes likely is above a blind guess too, so a little above it is no finding.
    sure = len(guess) > 1 and paired_p_value(shares[best], guess, by=SOME * (1 - chance)) < SURE
    level = _level(rate, chance, sure)
    return Finding("position", level, f"{_opening(level)}{measured}.", rate, chance)


def bound(run: Run, policy: str) -> Finding | None:
    """Whether an attack surely beats a bound that is claimed as proven (``proven`` of run.json); None if none does."""
    claims = run.about.get("proven", {})
    psnr = {a: run.repeated(policy, a, "psnr") for a in run.attacks}
    errors = {a: (10 ** (-values / 10)).mean(0) for a, values in psnr.items() if values.shape[1] > 1}
    tests = [(name, least, attack) for name, least in claims.items() for attack in errors]
    p_values = holm([paired_p_value(torch.full_like(errors[a], least), errors[a]) for _, least, a in tests])
    beaten = [test for test, p_value in zip(tests, p_values, strict=True) if p_value < SURE]
    if not beaten:
        return None
    name, least, attack = min(beaten, key=lambda test: float(errors[test[2]].mean()))
    error = bootstrap_mean(errors[attack])
    sentence = (
        f"The system or its evaluation is broken: {attack} has a mean squared error of {error.estimate:.5f} "
        f"[{error.low:.5f}, {error.high:.5f}], but {least:.5f} is the least that is possible ({name})."
    )
    return Finding("bound", BEATS_BOUND, sentence, error, least)


def _of_rates(run: Run, policy: str, about: str, wanted: Callable[[Rate], bool], words: str) -> Finding | None:
    """The judgement on the rates that are wanted, told by the surest of them.

    What is certain without the tokens (a label that all pictures share) puts nothing to the test, so that there is no
    finding: it would be one of harmlessness, whatever leaks.
    """
    hers = meant(run) and about in ("label", "traffic")
    found = [rate for rate in rates(run) if rate.policy == policy and wanted(rate) and (hers or rate.chance < 1)]
    if not found:
        return None
    told = min(found, key=lambda r: (_ORDER.index(_word(r)), r.p_value))
    level = _word(told)
    wording = WORDING.get(about, Wording())
    without = wording.hers if hers else wording.meant if meant(run) else wording.without
    those = wording.those.format(number=told.rate.n, noun=run.signal.noun)
    beside = without.format(chance=f"{told.chance:.0%}")
    measured = f"{words} for {_share(told.rate)} of {those} ({told.inference}: {told.words}); {beside}"
    if hers and level not in (LEAKS, IN_PART):
        sentence = f"The label is the answer that the server is meant to give, so reading it is no finding: {measured}."
        return Finding(about, HERS, sentence, told.rate, told.chance)
    return Finding(about, level, f"{_opening(level)}{measured}.", told.rate, told.chance)


_ORDER = (LEAKS, IN_PART, INCONCLUSIVE, NOT_FOUND)


def _word(rate: Rate) -> str:
    """The word for a rate; one that is no better than a guess that was measured may be that of a bad answerer."""
    level = _level(rate.rate, rate.chance, rate.above)
    guessed = rate.metric in INQUIRED and rate.rate.estimate <= rate.chance
    return INCONCLUSIVE if level == NOT_FOUND and guessed else level


def _level(rate: Interval, chance: float, sure: bool) -> str:
    """The word for a rate that is, or is not, surely above chance."""
    if sure:
        return LEAKS if _advantage(rate.low, chance) > MOST else IN_PART
    small = rate.n >= FEWEST_IMAGES and _advantage(rate.high, chance) < TOLERATED
    return NOT_FOUND if small else INCONCLUSIVE


def _advantage(rate: float, chance: float) -> float:
    """The part of the way from chance to certainty."""
    return (rate - chance) / (1 - chance) if chance < 1 else 0.0


def told_places(run: Run, policy: str) -> bool:
    """Whether the adversary knows where tokens stood: by the merge map, or by their order where nothing was merged."""
    knows = ThreatModel.from_dict(run.about["threat"]).knows
    whole = bool((run.per_image(policy, "tokens") >= run.about["victim"]["patches"]).all())
    return Knowledge.MERGE_MAP in knows or (Knowledge.ORDER in knows and whole)


def _opening(level: str) -> str:
    return {LEAKS: "Not private: ", IN_PART: "Not private: ", NOT_FOUND: "No leak found: "}.get(level, "Not settled: ")


def _share(rate: Interval) -> str:
    return f"{rate.estimate:.0%} [{rate.low:.0%}, {rate.high:.0%}]"
