"""Alternates between reconstructing a picture and putting the tokens where that reconstruction expects them."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from atm.knowledge import Knowledge
from atm.threat import Observation, ThreatModel
from attacks.base import ALIGNABLE, Attack, require
from attacks.objective import WHITE_BOX
from attacks.oracle import Oracle
from attacks.posterior import Posterior


class Alternating(Attack):
    """What descents start from where the merge map is hidden (`attacks.posterior`), as an answer of its own.

    A descent ends where the likelihood is high, and a map that is wrong in places makes wrong pictures likely. So
    there the start may resemble the original more than what a descent makes of it.
    """

    name: ClassVar[str] = "alternating"
    needs: ClassVar[Knowledge] = WHITE_BOX | ALIGNABLE[1]
    instead_of: ClassVar[Knowledge | None] = Knowledge.MERGE_MAP
    order: ClassVar[int] = 2

    @classmethod
    def share(cls, threat: ThreatModel) -> float:
        """Little: the decoder and the alignment have been trained by then, and its rounds are no loop of steps."""
        return 0.25

    def fit(self, oracle: Oracle) -> None:
        """Choose on held-out images how many rounds help."""
        require(self, oracle.threat)
        self.posterior = oracle.fitted(Posterior)

    def recover(self, seen: Observation) -> Tensor | None:
        """``[B, P]`` int64: the token that each patch has been given in the end; None where the map was told."""
        return self.posterior.begin(seen)[0].tokens.source if seen.tokens.source is None else None

    def reconstruct(self, seen: Observation) -> Tensor:
        """The reconstruction of the last round."""
        return self.posterior.begin(seen)[1]
