"""What became of the placer that an attack on hidden order was handed (`attacks.placer`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

GONE_ON, LEFT, UNFIT, ELSEWHERE = "gone on from", "left aside", "for other tokens", "for another layer"
OUTCOMES = {
    GONE_ON: "it placed her held-out signals better than her own had taught her",
    LEFT: "her own signals had taught her to place them better",
    UNFIT: "it reads tokens with other features, or tokens whose order means something else",
    ELSEWHERE: "it was trained for tokens that leave the device after another layer, or in another codec",
}


@dataclass(frozen=True)
class Beginning:
    """What became of a placer, and the shares of the patches of held-out signals that are placed.

    Attributes:
        outcome: a key of `OUTCOMES`.
        alone: by what her own signals taught her, in half of a limited time; None where she learned nothing.
        given: by the placer as it was handed to her; None where it is for other tokens.
        placed: by what she places the victims' tokens with.
    """

    outcome: str
    alone: float | None = None
    given: float | None = None
    placed: float | None = None

    def as_dict(self) -> Mapping[str, Any]:
        """Plain values with four digits."""
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items()}
