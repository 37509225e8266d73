"""Which policies of a front are recommended, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace

from audit.pareto.objectives import OBJECTIVES
from audit.pareto.outcome import FULL_SUITE, Outcome
from audit.pareto.trials import Trial
from privacy_metrics.statistics import wilson_effective
from reports.numbers import show

GIVEN_UP = 0.05  # accuracy that the privacy-first and the efficiency-first recommendation may cost


@dataclass(frozen=True)
class Recommendation:
    """One policy of the front, and why."""

    title: str
    trial: Trial
    reason: str


def recommended(outcome: Outcome) -> list[Recommendation]:
    """Privacy first, balanced, efficiency first; fewer where an objective for one is missing."""
    names = [o.name for o in outcome.objectives]
    found = []
    able = accurate(outcome)
    allowed = f"among policies that lose at most {GIVEN_UP:.0%} of accuracy" if "accuracy" in names else "of all"
    if "leakage" in names and able:
        evidence = outcome.evidence(able)
        trial = next(t for t in able if t.name == min(evidence.leakage, key=evidence.leakage.__getitem__))
        missing = len(evidence.missing)
        left = f", of which {missing} {'was' if missing == 1 else 'were'} not attacked by it" if missing else ""
        found.append(Recommendation("privacy first", trial, f"the least leakage by {evidence.words} {allowed}{left}"))
    if outcome.lasting:
        rows = [replace(trial, values=outcome.known(trial)) for trial in outcome.lasting]
        worst = [float(row.min()) for row in outcome.frame.points(rows)]
        trial = outcome.lasting[max(range(len(worst)), key=worst.__getitem__)]
        reason = "its worst objective, as a part of the range from reference to best, is better than any other's"
        found.append(Recommendation("balanced", trial, reason))
    cheap = next((name for name in ("gflops", "energy", "latency", "tokens", "symbols") if name in names), None)
    if cheap and able:
        trial = min(able, key=lambda t: outcome.known(t)[cheap])
        found.append(Recommendation("efficiency first", trial, f"the least {OBJECTIVES[cheap].label} {allowed}"))
    return [_doubted(outcome, each) for each in _told_apart(found)]


def resting(outcome: Outcome, trial: Trial) -> str:
    """On how many signals a policy's numbers rest, and between what its accuracy surely lies."""
    other = trial.name in outcome.again
    number = outcome.again_images if other else outcome.config.images
    where = f"on {number} {'other ' if other else ''}{outcome.noun}s"
    accuracy = outcome.known(trial).get("accuracy")
    if accuracy is None:
        return where
    return f"{where}, accuracy {show(wilson_effective(min(max(accuracy, 0.0), 1.0), number, number))}"


def accurate(outcome: Outcome) -> list[Trial]:
    """What lasts of the front and loses at most `GIVEN_UP` of its best accuracy; all that lasts where there is none."""
    if not outcome.lasting or not any(o.name == "accuracy" for o in outcome.objectives):
        return outcome.lasting
    accuracy = {trial.name: outcome.known(trial)["accuracy"] for trial in outcome.lasting}
    return [t for t in outcome.lasting if accuracy[t.name] >= max(accuracy.values()) - GIVEN_UP]


def _doubted(outcome: Outcome, each: Recommendation) -> Recommendation:
    doubts = outcome.doubts(each.trial, outcome.limits)
    bounded = any(limit.objective.name == "leakage" for limit in outcome.limits)
    if bounded and outcome.full and each.trial.name not in {*outcome.full, *outcome.expected}:
        doubts.append(
            f"{FULL_SUITE} did not attack it, so its leakage was held against the {outcome.config.score} score"
        )
    return replace(each, reason="; ".join([each.reason, resting(outcome, each.trial), *doubts]))


def _told_apart(found: list[Recommendation]) -> list[Recommendation]:
    """The same, where a policy that is recommended once more says so."""
    first: dict[int, str] = {}
    said = []
    for each in found:
        same = first.setdefault(each.trial.number, each.title)
        reason = each.reason if same == each.title else f"the same policy as {same}: {each.reason}"
        said.append(replace(each, reason=reason))
    return said
