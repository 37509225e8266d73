"""What ``atm search`` is asked for, beside the system."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from atm.errors import AtmError
from audit.configs import AttackConfig
from audit.system import Images, System, Words

if TYPE_CHECKING:
    from audit.search.objectives import Bound, Objective

DEFAULT = ("accuracy", "gflops", "tokens", "leakage")


class SearchConfig(System):
    """What ``atm search`` is asked for.

    ``objectives`` are names of `audit.search.objectives.OBJECTIVES`, ``score`` one of `audit.search.privacy.SCORES`;
    `audit.search.front.Frame` has the rule for what ``reference`` leaves open. ``images`` are what each policy is
    evaluated on; of ``auxiliary`` pictures the full suite learns, and a defence is fitted to them.
    """

    images: Images = 200
    evals: Annotated[int, Field(description="Policies to evaluate.")] = 64
    objectives: Annotated[
        Words, Field(description="Several names: accuracy, flops, tokens, leakage, symbols, latency, memory.")
    ] = DEFAULT
    at_least: Annotated[Words, Field(description="Constraint such as accuracy=0.9.")] = ()
    at_most: Annotated[Words, Field(description="Constraint such as tokens=30.")] = ()
    reference: Annotated[Words, Field(description="Reference of the hypervolume, such as accuracy=0.5.")] = ()
    score: Annotated[str, Field(description="How leakage is scored during the search: ridge.")] = "ridge"
    lowest: Annotated[float, Field(description="Lowest threshold of any layer.")] = 0.3

    def attack(self, **changes: Any) -> AttackConfig:
        """The attack on the same system."""
        return AttackConfig(**{**self.shared(), **changes})

    def asked(self) -> tuple[tuple[Objective, ...], tuple[Bound, ...], dict[str, float]]:
        """Objectives, constraints, and what of the reference point the user set.

        Raises:
            AtmError: anything that cannot be searched.
        """
        from audit.search import objectives

        if self.evals < 1 or not 0 <= self.lowest < 1:
            raise AtmError(f"--evals {self.evals} must be at least 1, and --lowest {self.lowest} in [0, 1)")
        chosen = objectives.chosen(self.objectives)
        limits = objectives.bounds(self.at_least, self.at_most)
        return chosen, limits, objectives.reference(self.reference, chosen)

    @classmethod
    def from_dict(cls, content: dict[str, Any], where: Path) -> SearchConfig:
        """The inverse of `plain`.

        Raises:
            AtmError: fields are too many or of another type.
        """
        try:
            return cls(**content)
        except AtmError as error:
            raise AtmError(f"{where} is of another version: {error}") from None
