"""One policy of a search, by one's own constraints."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from atm.errors import AtmError
from audit.pareto.front import feasible
from audit.pareto.objectives import OBJECTIVES, bounds, canonical
from audit.pareto.outcome import Outcome
from audit.pareto.run import write_policy
from audit.pareto.trials import Trial


def pick_policy(
    folder: str | Path,
    at_least: Iterable[str] = (),
    at_most: Iterable[str] = (),
    minimize: str | None = None,
    maximize: str | None = None,
) -> tuple[Trial, Path]:
    """The policy that is best in one objective among all that keep the bounds, and its YAML file.

    Raises:
        AtmError: not exactly one objective, one that the search did not measure, or no policy keeps the bounds.
    """
    if (minimize is None) == (maximize is None):
        raise AtmError("give one of --minimize and --maximize, for example --minimize leakage")
    objective, sign = OBJECTIVES[canonical(minimize or maximize or "")], 1 if minimize else -1
    limits = bounds(at_least, at_most)
    outcome = Outcome.read(folder)
    known = [o.name for o in outcome.measured]
    for asked in [*(limit.objective for limit in limits), objective]:
        if asked.name not in known:
            raise AtmError(f"{folder} did not measure {asked.name}; it has {', '.join(known)}")
    able = [trial for trial in outcome.trials if feasible(trial, limits)]
    if not able:
        asked_for = " and ".join(map(str, limits)) or "anything: every evaluation failed"
        raise AtmError(f"none of the {len(outcome.trials)} policies of {folder} keeps {asked_for}; relax a bound")
    front = {trial.number for trial in outcome.front}
    best = min(able, key=lambda t: (sign * t.values[objective.name], t.number not in front, t.number))
    return best, write_policy(outcome, best)
