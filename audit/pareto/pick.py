"""One policy of a search, by one's own constraints."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from atm.errors import AtmError
from audit.pareto.front import feasible
from audit.pareto.objectives import OBJECTIVES, Bound, bounds, canonical
from audit.pareto.outcome import FULL_SUITE, Outcome
from audit.pareto.run import write_policy
from audit.pareto.trials import Trial
from reports.numbers import give_or_take

SAID = 3  # policies that are named beside the one that was picked


@dataclass(frozen=True)
class Picked:
    """A policy, and why.

    Attributes:
        trial: the evaluation that it comes from.
        path: its YAML file.
        values: its objectives, by the strongest evidence.
        decided: the number that it was picked for, with half of its 95% interval, and where it comes from.
        notes: on that evidence.
    """

    trial: Trial
    path: Path
    values: dict[str, float]
    decided: str
    notes: list[str]


def pick_policy(
    folder: str | Path,
    at_least: Iterable[str] = (),
    at_most: Iterable[str] = (),
    minimize: str | None = None,
    maximize: str | None = None,
) -> Picked:
    """The policy that is best in one objective among all that keep the bounds.

    What was measured on other pictures than the search's counts for the front's policies; and where leakage is to be
    least, of those that the full suite attacked the one that it found least in, if it attacked any.

    Raises:
        AtmError: not exactly one objective, one that the search did not measure, or no policy keeps the bounds.
    """
    if (minimize is None) == (maximize is None):
        raise AtmError("give one of --minimize and --maximize, for example --minimize leakage")
    objective, sign = OBJECTIVES[canonical(minimize or maximize or "")], 1 if minimize else -1
    limits = bounds(at_least, at_most)
    outcome = Outcome.read(folder)
    measured = [o.name for o in outcome.measured]
    for asked in [*(limit.objective for limit in limits), objective]:
        if asked.name not in measured:
            raise AtmError(f"{folder} did not measure {asked.name}; it has {', '.join(measured)}")
    known = {trial.number: outcome.known(trial) for trial in outcome.trials}
    able = [trial for trial in outcome.trials if feasible(replace(trial, values=outcome.cautious(trial)), limits)]
    again = [trial for trial in able if trial.name in outcome.again]
    able = again or able  # numbers on other pictures and on the search's own do not compare
    if not able:
        asked_for = " and ".join(map(str, limits)) or "anything: every evaluation failed"
        raise AtmError(f"none of the {len(outcome.trials)} policies of {folder} keeps {asked_for}; relax a bound")
    front = {trial.number for trial in outcome.front}
    notes = [f"by {outcome.again_images} {outcome.noun}s that the search never saw"] if again else []
    values = {trial.name: known[trial.number][objective.name] for trial in able}
    error = {trial.name: outcome.error(trial, objective.name) for trial in able}
    where = f"on {outcome.again_images} other {outcome.noun}s" if again else "in the search"
    if objective.name == "leakage":
        evidence = outcome.evidence(able)
        values, error, where = evidence.leakage, evidence.error, f"by {evidence.words}"
        notes.append(f"leakage by {evidence.words}")
        if evidence.missing:
            notes.append(f"{len(evidence.missing)} more policies that keep the bounds were not attacked by it")
    best = min(
        (trial for trial in able if trial.name in values),
        key=lambda t: (sign * values[t.name], t.number not in front, t.number),
    )
    level = [name for name in values if name != best.name and _level(best.name, name, values, error)]
    if level:
        notes.append(
            f"chance decided between it and {_named(level)}, whose {objective.name} differs by less than the error"
        )
    others = [trial for trial in outcome.trials if not again or trial.name in outcome.again]
    own = sign * known[best.number][objective.name]
    near = [t.name for t in others if t not in able and _nearly(outcome, t, limits)
            and sign * known[t.number][objective.name] < own]  # fmt: skip
    if near:
        notes.append(f"{_named(near)} would be better, and misses a bound by less than the error")
    notes += outcome.doubts(best, limits)
    decided = f"{objective.name} {give_or_take(values[best.name], error[best.name])} {where}"
    numbers = {**known[best.number], objective.name: values[best.name]}
    if any(limit.objective.name == "leakage" for limit in limits):
        numbers["leakage"], note = _held_against(outcome, best)
        notes.append(note)
    return Picked(best, write_policy(outcome, best), numbers, decided, notes)


def _held_against(outcome: Outcome, trial: Trial) -> tuple[float, str]:
    """Leakage of a policy that keeps a bound on it, by the strongest evidence, and what the bound was held against."""
    if trial.name in outcome.full:
        estimate, low, high = outcome.full[trial.name]
        return (
            estimate,
            f"leakage {estimate:.3f} [{low:.3f}, {high:.3f}] by {FULL_SUITE}: that estimate keeps its bound",
        )
    if trial.name in outcome.expected:
        estimate, _, high = outcome.expected[trial.name]
        return estimate, (
            f"{FULL_SUITE} did not attack it, and is expected to find leakage {estimate:.3f}, at most {high:.3f}: that "
            "end keeps its bound"
        )
    value = outcome.cautious(trial)["leakage"]
    return value, (
        f"its bound on leakage was held against the {outcome.config.score} score, which lies below what {FULL_SUITE} "
        "finds: attack it"
    )


def _named(names: list[str]) -> str:
    return ", ".join(names[:SAID]) + (" and others" if len(names) > SAID else "")


def _nearly(outcome: Outcome, trial: Trial, limits: tuple[Bound, ...]) -> bool:
    """Whether a policy keeps all bounds, or would within the errors of its numbers."""
    known = {} if trial.failure is not None else outcome.cautious(trial)
    return bool(known) and all(
        bound.met(known[name]) or bound.met(known[name] + bound.sign * outcome.error(trial, name))
        for bound, name in ((bound, bound.objective.name) for bound in limits)
    )


def _level(one: str, other: str, values: dict[str, float], error: dict[str, float]) -> bool:
    """Whether two policies differ by less than the error of their difference; their errors are taken for independent,
    and so for larger than they are, since both come from the same pictures.
    """
    return abs(values[one] - values[other]) < math.hypot(error[one], error[other])
