"""Undoes merging and shuffling: finds where each token belongs, then inverts as if it had been told."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from atm.knowledge import Knowledge
from atm.threat import Observation, ThreatModel
from attacks.alignment import Alignment
from attacks.base import ALIGNABLE, Attack, require
from attacks.oracle import Oracle
from attacks.ridge import Ridge


class Position(Attack):
    """The merge map recovered from the tokens (`attacks.alignment`), then ridge on the recovered map.

    An adversary who is told the map pretends to know neither it nor the order, so that reports show how much of it the
    tokens tell by themselves.
    """

    name: ClassVar[str] = "position"
    needs: ClassVar[Knowledge] = Knowledge.AUXILIARY | ALIGNABLE[1]
    order: ClassVar[int] = 1

    @classmethod
    def share(cls, threat: ThreatModel) -> float:
        """Little where the map is known, as it only measures a leak; where it is hidden, ridge has found one."""
        return 0.5 if Knowledge.MERGE_MAP in threat.knows else 1

    def fit(self, oracle: Oracle) -> None:
        """Train the alignment on the auxiliary images, and ridge on what it makes of them."""
        require(self, oracle.threat)
        told = Knowledge.MERGE_MAP in oracle.knows
        blind = oracle.without(Knowledge.ORDER | Knowledge.MERGE_MAP) if told else oracle
        self.keep_places = Knowledge.ORDER in oracle.told
        self.alignment = blind.fitted(Alignment)
        self.history = self.alignment.history
        self.ridge = blind.fitted(Ridge)

    def recover(self, seen: Observation) -> Tensor:
        """``[B, P]`` int64: the token, counted within its image, that each patch is believed to have ended in."""
        source = self.alignment.complete(seen.without_map(self.keep_places)).tokens.source
        assert source is not None
        return source

    @torch.no_grad()
    def reconstruct(self, seen: Observation) -> Tensor:
        """The ridge estimate with the recovered map."""
        return self.ridge.reconstruct(seen.without_map(self.keep_places))
