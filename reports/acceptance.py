"""May a policy be deployed? By criteria that its owner sets: yes only where all of them surely hold."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from atm.errors import AtmError, unknown
from privacy_metrics.statistics import Interval
from reports.flags import first_of
from reports.level import BEATS_BOUND, INCONCLUSIVE, NOT_FOUND
from reports.measure import averaged
from reports.numbers import plain
from reports.run import Run
from reports.verdict import Verdict

YES, NO, NOT_SHOWN = "yes", "no", "not shown"
WRITTEN = re.compile(r"\s*([a-z_0-9]+)\s*(<=|>=)\s*([-+.0-9eE]+)\s*(%?)\s*")


def _cost(column: str) -> Callable[[Verdict], Interval | None]:
    return lambda verdict: averaged(column, verdict.run.per_image(verdict.policy, column))


def _task(verdict: Verdict) -> Interval | None:
    return None if verdict.run.about["task"] is None else _cost("correct")(verdict)


def _finding(about: str) -> Callable[[Verdict], Interval | None]:
    return lambda verdict: next((f.rate for f in verdict.findings if f.about == about), None)


QUANTITIES: dict[str, Callable[[Verdict], Interval | None]] = {
    "recognised": lambda verdict: verdict.recognisable,
    "leakage": lambda verdict: verdict.leakage,
    "percentile_95": lambda verdict: verdict.tail,
    "maximum": lambda verdict: verdict.highest,
    "label": _finding("label"),
    "identity": _finding("identity"),
    "membership": _finding("membership"),
    "questions": _finding("questions"),
    "retrieval": _finding("retrieval"),
    "position": _finding("position"),
    "traffic": _finding("traffic"),
    "accuracy": _task,
    "gflops": _cost("gflops"),
    "tokens": _cost("tokens"),
    "symbols": _cost("symbols"),
}


@dataclass(frozen=True)
class Criterion:
    """What must hold, such as ``recognised<=5%``.

    Attributes:
        quantity: a name of `QUANTITIES`.
        at_most: whether it is a greatest value, or else a least one.
        bound: the value.
        text: how it was written.
    """

    quantity: str
    at_most: bool
    bound: float
    text: str

    @classmethod
    def parse(cls, text: str) -> Criterion:
        """A criterion as it is written on the command line.

        Raises:
            AtmError: it is not of the form ``QUANTITY<=NUMBER`` or ``QUANTITY>=NUMBER``, or there is no such quantity.
        """
        written = WRITTEN.fullmatch(text)
        try:
            bound = float(written[3]) if written else math.nan
        except ValueError:
            bound = math.nan
        if written is None or not math.isfinite(bound):
            raise AtmError(f"criterion {text!r} is not of the form recognised<=5% or accuracy>=0.9")
        if written[1] not in QUANTITIES:
            raise unknown("quantity of a criterion", written[1], list(QUANTITIES))
        return cls(written[1], written[2] == "<=", bound / 100 if written[4] else bound, "".join(text.split()))

    def answer(self, measured: Interval) -> str:
        """Whether the whole interval is on the right side, on the wrong one, or neither."""
        low, high = (measured.low, measured.high) if self.at_most else (-measured.high, -measured.low)
        bound = self.bound if self.at_most else -self.bound
        if high <= bound:  # never true of an interval that has no ends
            return YES
        return NO if low > bound else NOT_SHOWN


@dataclass(frozen=True)
class Decision:
    """The answer for one policy, with the one reason for it."""

    policy: str
    answer: str
    reason: str


def criteria_of(run: Run, accept: Iterable[str] | None = None) -> list[Criterion]:
    """These criteria, or where they are None those that the run was asked to hold its policies against.

    Raises:
        AtmError: one of them is none.
    """
    asked = run.about["config"].get("accept") or () if accept is None else accept
    return [Criterion.parse(text) for text in asked]


def decide(verdict: Verdict, criteria: Iterable[Criterion] = ()) -> Decision:
    """Whether a policy may be deployed.

    Without criteria the verdict decides: yes means *no leak found* in anything that was looked at. A raised flag takes
    every yes back, since it says why the attacks may have been too weak.
    """
    criteria = tuple(criteria)
    if verdict.level == BEATS_BOUND:
        return Decision(verdict.policy, NO, verdict.sentence)
    if not criteria:
        return _by_verdict(verdict)
    answers = [_checked(criterion, verdict) for criterion in criteria]
    for wanted in (NO, NOT_SHOWN):
        for answer, reason in answers:
            if answer == wanted:
                return Decision(verdict.policy, answer, reason)
    if verdict.flags:
        return Decision(verdict.policy, NOT_SHOWN, f"all criteria are met, but {verdict.flags[0].found}")
    return Decision(verdict.policy, YES, "; ".join(reason for _, reason in answers))


def instead(verdicts: list[Verdict], decisions: list[Decision]) -> str:
    """What to do, in a sentence: the most useful policy that passes, or what would settle the rest."""
    run = verdicts[0].run
    unfinished = "" if run.finished else "This run is unfinished: go on with the same command and --resume. "
    passed = [v for v, decision in zip(verdicts, decisions, strict=True) if decision.answer == YES]
    if passed:
        best = max(passed, key=_usefulness)
        return f"{unfinished}Deploy the policy “{best.policy}”."
    open_yet = [v for v, decision in zip(verdicts, decisions, strict=True) if decision.answer == NOT_SHOWN]
    if open_yet:
        if unfinished:
            return f"{unfinished}Deploy no policy of this run yet."
        flag = first_of(flag for v in open_yet for flag in v.flags)
        step = f"Attack more {run.signal.noun}s (--images)." if flag is None else flag.what_to_do.replace("`", "")
        return f"Deploy no policy of this run yet. {step}"
    later = "send after a later layer, " if any(map(_leaves_early, verdicts)) else ""
    return f"{unfinished}Deploy no policy of this run: merge more, {later}or add a defence (atm list defenses)."


def _leaves_early(verdict: Verdict) -> bool:
    """Whether the victim has layers behind the one after which a policy sends."""
    policy = next(each for each in verdict.run.about["policies"] if each["name"] == verdict.policy)
    exit_layer, layers = policy.get("exit_layer"), verdict.run.about["victim"].get("layers")
    return exit_layer is not None and layers is not None and exit_layer < layers


def _usefulness(verdict: Verdict) -> tuple[float, float]:
    task = _task(verdict)
    return (task.estimate if task else 0.0, -verdict.leakage.estimate)


def _by_verdict(verdict: Verdict) -> Decision:
    gravest = next(finding for finding in verdict.findings if finding.level == verdict.level)
    answer = {NOT_FOUND: YES, INCONCLUSIVE: NOT_SHOWN}.get(verdict.level, NO)
    if answer == YES and verdict.flags:
        return Decision(verdict.policy, NOT_SHOWN, verdict.flags[0].found)
    return Decision(verdict.policy, answer, f"{gravest.about}: {gravest.sentence}")


def _checked(criterion: Criterion, verdict: Verdict) -> tuple[str, str]:
    measured = QUANTITIES[criterion.quantity](verdict)
    if measured is None:
        return NOT_SHOWN, f"{criterion.text}: {criterion.quantity} was not measured"
    answer = criterion.answer(measured)
    ends = "" if math.isnan(measured.low) else f" [{plain(measured.low)}, {plain(measured.high)}]"
    return answer, f"{criterion.text}: {criterion.quantity} is {plain(measured.estimate)}{ends}"
