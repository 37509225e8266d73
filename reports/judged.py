"""A run with everything that is said about it: worked out once, and shown as a page, a table, a card or text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reports.acceptance import Criterion, Decision, criteria_of, decide, instead
from reports.peers import check_against
from reports.run import Run
from reports.settings import check_settings
from reports.verdict import Verdict, verdicts


@dataclass(frozen=True)
class Judged:
    """A judged run.

    Attributes:
        run: what was judged.
        against: other runs that it was held against.
        verdicts: one for each policy.
        criteria: of deployment; empty where the verdict decides.
        decisions: whether each policy may be deployed, in the order of the verdicts.
    """

    run: Run
    against: tuple[Run, ...]
    verdicts: list[Verdict]
    criteria: list[Criterion]
    decisions: list[Decision]

    @classmethod
    def of(cls, run: Run, against: Sequence[Run] = (), accept: Sequence[str] | None = None) -> Judged:
        """Judge a run.

        Args:
            run: finished or not.
            against: other runs that flags may hold it against.
            accept: criteria of deployment (`reports.acceptance`) in place of the run's own.

        Raises:
            AtmError: a criterion or a run's settings are none, or another run has nothing in common with this one.
        """
        against = tuple(against)
        for each in (run, *against):
            check_settings(each)
        check_against(run, against)
        found, criteria = verdicts(run, against), criteria_of(run, accept)
        return cls(run, against, found, criteria, [decide(verdict, criteria) for verdict in found])

    @classmethod
    def read(cls, folder: str | Path, against: Sequence[Run] = (), accept: Sequence[str] | None = None) -> Judged:
        """Judge the run in a folder; `of` has the arguments and errors."""
        return cls.of(Run.read(folder), against, accept)

    @property
    def advice(self) -> str:
        """What to deploy, or what to do instead, in a sentence."""
        return instead(self.verdicts, self.decisions)
