"""What ``atm search`` is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic.dataclasses import dataclass as configuration

from atm.errors import AtmError
from atm.policy import MergePolicy
from audit.attack_config import AttackConfig
from audit.pareto import objectives
from audit.pareto.objectives import DEFAULT, Bound, Objective
from audit.system import STRICT, Names, OnAir

FEWEST = 2  # pictures: those of one fold are rebuilt by what the others teach


@configuration(frozen=True, kw_only=True, config=STRICT)
class SearchConfig(OnAir):
    """A search, beside what every command is asked for.

    Attributes:
        defense: see `defenses.create`; None sends the tokens as they are.
        evals: policies to evaluate.
        objectives: names of `audit.pareto.objectives.OBJECTIVES`.
        at_least: constraints such as ``accuracy=0.9``.
        at_most: constraints such as ``tokens=30``.
        reference: a reference point or a part of it, such as ``accuracy=0.5``; `audit.pareto.front.Frame` has the rule
            for the rest.
        score: how leakage is scored; a name of `audit.pareto.privacy.SCORES`.
        images: that each policy is evaluated on.
        auxiliary: the adversary's own pictures, at most, when the front is re-scored.
        lowest: lowest threshold of any layer.
        like: a policy file whose rules all policies share, such as what is compared and the exit; only its thresholds
            are searched. None takes the default rules.
    """

    COMMAND: ClassVar[str] = "atm search"

    defense: str | None = None
    evals: int = 64
    objectives: Names = DEFAULT
    at_least: Names = ()
    at_most: Names = ()
    reference: Names = ()
    score: str = "ridge"
    images: int = 200
    lowest: float = 0.0
    like: str | None = None

    def attack(self, **changes: Any) -> AttackConfig:
        """The attack on the same victim, data, channel and adversary."""
        return AttackConfig.of(self, **changes)

    def rules(self) -> MergePolicy | None:
        """The policy that all others are like.

        Raises:
            AtmError: it cannot be read, or has no thresholds that could be searched.
        """
        if self.like is None:
            return None
        rules = MergePolicy.read(self.like)
        if rules.remove:
            raise AtmError(f"--like {self.like} removes fixed numbers of tokens; there are no thresholds to search")
        return rules

    def asked(self) -> tuple[tuple[Objective, ...], tuple[Bound, ...], dict[str, float]]:
        """Objectives, constraints, and what of the reference point the user set.

        Raises:
            AtmError: anything that cannot be searched.
        """
        if self.evals < 1 or not 0 <= self.lowest < 1:
            raise AtmError(f"--evals {self.evals} must be at least 1, and --lowest {self.lowest} in [0, 1)")
        if self.images < FEWEST:
            raise AtmError(f"--images {self.images} are too few to score leakage; give {FEWEST} or more")
        chosen = objectives.chosen(self.objectives)
        limits = objectives.bounds(self.at_least, self.at_most)
        return chosen, limits, objectives.reference(self.reference, chosen)

    @classmethod
    def from_dict(cls, content: dict[str, Any], where: Path) -> SearchConfig:
        """The inverse of `as_dict`.

        Raises:
            AtmError: fields are missing or too many.
        """
        try:
            return cls(**content)
        except AtmError as error:
            raise AtmError(f"{where} is of another version: {error}") from None
