"""Undoes merging and shuffling: finds where each token belongs, then inverts as if it had been told."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor

from atm.link import Link
from atm.threat import Knowledge, Observation, ThreatModel
from attacks.alignment import ALIGNABLE, Alignment
from attacks.ridge import Ridge
from attacks.shared import fitted


class Position:
    """The merge map recovered from the tokens (`attacks.alignment`), then ridge on the recovered map.

    An adversary who is told the map pretends to know neither it nor the order, so that reports show how much of it the
    tokens tell by themselves.
    """

    name: ClassVar[str] = "position"
    needs: ClassVar[Knowledge] = Knowledge.AUXILIARY | ALIGNABLE[1]

    @classmethod
    def share(cls, threat: ThreatModel) -> float:
        """Much where the map is hidden, because all that need one use what it learns; else it only measures a leak."""
        return 0.5 if Knowledge.MERGE_MAP in threat.knows else 4

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Train the alignment on the auxiliary images, and ridge on what it makes of them."""
        threat.require(self.needs, self.name)
        told = Knowledge.MERGE_MAP in threat.under(link.defence).knows
        self.blind = threat.without_knowledge(Knowledge.ORDER) if told else threat
        self.alignment = fitted(Alignment, link, self.blind, images)
        self.history = self.alignment.history
        self.ridge = fitted(Ridge, link, self.blind, images)

    def recover(self, seen: Observation) -> Tensor:
        """``[B, P]`` int64: the token, counted within its image, that each patch is believed to have ended in."""
        source = self.alignment.complete(_without_map(seen)).tokens.source
        assert source is not None
        return source

    @torch.no_grad()
    def reconstruct(self, seen: Observation) -> Tensor:
        """The ridge estimate with the recovered map."""
        return self.ridge.reconstruct(_without_map(seen))


def _without_map(seen: Observation) -> Observation:
    return replace(seen, tokens=replace(seen.tokens, source=None))
