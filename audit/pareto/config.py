"""What ``atm search`` is asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from atm.errors import AtmError
from audit.pareto import objectives
from audit.pareto.objectives import DEFAULT, Bound, Objective
from audit.setting import AttackConfig


@dataclass(frozen=True)
class SearchConfig:
    """A search; see `audit.setting.AttackConfig` for what the two share.

    Attributes:
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
    """

    victim: str = "vit_photos"
    weights: str | None = None
    image_size: str | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    head: str | None = None
    classes: str | None = None
    codec: str = "auto"
    data: str = "photos"
    channel: str = "awgn:10"
    threat: str = "server"
    evals: int = 64
    objectives: tuple[str, ...] = DEFAULT
    at_least: tuple[str, ...] = ()
    at_most: tuple[str, ...] = ()
    reference: tuple[str, ...] = ()
    score: str = "ridge"
    images: int = 200
    auxiliary: int = 4000
    lowest: float = 0.3
    seed: int = 0

    def attack(self, **changes: Any) -> AttackConfig:
        """The attack on the same victim, data, channel and adversary."""
        shared = {field.name for field in fields(self)} & {field.name for field in fields(AttackConfig)}
        return AttackConfig(**{**{name: getattr(self, name) for name in shared}, **changes})

    def asked(self) -> tuple[tuple[Objective, ...], tuple[Bound, ...], dict[str, float]]:
        """Objectives, constraints, and what of the reference point the user set.

        Raises:
            AtmError: anything that cannot be searched.
        """
        if self.evals < 1 or not 0 <= self.lowest < 1:
            raise AtmError(f"--evals {self.evals} must be at least 1, and --lowest {self.lowest} in [0, 1)")
        chosen = objectives.chosen(self.objectives)
        limits = objectives.bounds(self.at_least, self.at_most)
        return chosen, limits, objectives.reference(self.reference, chosen)

    def as_dict(self) -> dict[str, Any]:
        """All fields as JSON has them."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, content: dict[str, Any], where: Path) -> SearchConfig:
        """The inverse of `as_dict`.

        Raises:
            AtmError: fields are missing or too many.
        """
        try:
            given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
            return cls(**given)
        except TypeError as error:
            raise AtmError(f"{where} is of another version: {error}") from None
