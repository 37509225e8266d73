"""Which other runs a run can be held against."""

from __future__ import annotations

import math
from collections.abc import Set
from typing import Any

from atm.errors import AtmError
from atm.threat import ThreatModel
from privacy_metrics.statistics import paired_difference
from reports.run import Run

BUDGETS = ("auxiliary", "steps", "budget")
DIGESTED = ("placer", "prior")  # what an adversary brings along in a file


def comparable(run: Run, other: Run, policy: str) -> bool:
    """Whether another run attacked the same policy of the same victim on the same pictures."""
    if policy not in other.policies:
        return False
    ours, theirs = (next(p for p in r.about["policies"] if p["name"] == policy) for r in (run, other))
    same_victim = run.about["victim"]["digest"] == other.about["victim"]["digest"]
    return (
        ours == theirs and same_victim and run.about["data"]["victims_digest"] == other.about["data"]["victims_digest"]
    )


def differs_only_in(run: Run, other: Run, keys: Set[str]) -> bool:
    """Whether two runs were asked for the same but for these words of their configuration (policies are no matter)."""
    ours, theirs = _config(run), _config(other)
    return all(ours.get(k) == theirs.get(k) for k in (ours.keys() | theirs.keys()) - keys - {"policies", "repeats"})


def stronger(run: Run, other: Run) -> bool:
    """Whether this run's adversary sees and knows at least what the other's does, all else being equal."""
    if not differs_only_in(run, other, {"threat", "attacks"}) or run.about["threat"] == other.about["threat"]:
        return False
    ours, theirs = (ThreatModel.from_dict(r.about["threat"]) for r in (run, other))
    limits = [(ours.auxiliary, theirs.auxiliary), (ours.queries, theirs.queries)]
    as_rich = all((own or math.inf) >= (hers or math.inf) for own, hers in limits) and ours.shifted <= theirs.shifted
    return as_rich and ours.knows & theirs.knows == theirs.knows and _snr(run, ours) >= _snr(other, theirs)


def twice_the_budget(run: Run, other: Run) -> bool:
    """Whether the other run differs in its budget only, and has at least twice as much of it."""
    if not differs_only_in(run, other, set(BUDGETS)):
        return False
    ours, theirs = _config(run), _config(other)
    ratios = [_amount(theirs, k) / _amount(ours, k) for k in BUDGETS if ours.get(k) != theirs.get(k)]
    return bool(ratios) and min(ratios) >= 2


def surely_higher(run: Run, other: Run, policy: str, margin: float) -> bool:
    """Whether leakage in a run is higher than in another on the same pictures, by surely more than ``margin``."""
    a, b = run.worst_case(policy), other.worst_case(policy)
    return len(a) == len(b) > 1 and paired_difference(a, b).low > margin


def number(value: Any) -> float:
    """A number, or NaN, which compares as false."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def check_against(run: Run, others: tuple[Run, ...]) -> None:
    """Refuse a run that nothing can be learnt from.

    Raises:
        AtmError: it shares no policy of the same victim on the same pictures.
    """
    for other in others:
        if not any(comparable(run, other, policy) for policy in run.policies):
            raise AtmError(
                f"--against {other.folder}: it shares no policy, victim and pictures with {run.folder}; give a run of "
                "the same"
            )


def _amount(config: dict[str, Any], key: str) -> float:
    value = config.get(key)
    return math.inf if key == "budget" and value is None else number(value)


def _config(run: Run) -> dict[str, Any]:
    """What a run was asked for, with the digests of files in place of their names: only their content matters."""
    return {**run.about["config"], **{name: run.about.get(name) for name in DIGESTED}}


def _snr(run: Run, threat: ThreatModel) -> float:
    """Of the adversary's own receiver, in dB; the link's where she has no channel of her own."""
    if threat.tap == "before-codec":
        return math.inf
    name, _, argument = (threat.channel or run.about["channel"]).partition(":")
    return math.inf if name == "noiseless" else number(argument.split(",")[0])
