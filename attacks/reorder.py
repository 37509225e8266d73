"""Recovery of places from the tokens themselves, and then ordinary inversion."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from atm.link import Link
from atm.progress import track
from atm.threat import Knowledge, Observation, ThreatModel
from atm.tokens import NOWHERE, TokenBatch
from attacks.base import held_out
from attacks.decoder import Decoder


@dataclass
class Reorder:
    """A decoder for tokens in an unknown order (the position recovery of SARA, extended to merged tokens).

    The adversary plays the device with her own images, so she knows where their patches went. A small network learns,
    for each patch, which token of the image it ended in; where there are as many tokens as patches the best one-to-one
    assignment is taken. The decoder is then trained on tokens as she put them back, mistakes included.

    Attributes:
        width: of the network's hidden layer.
        steps: of AdamW.
        batch: images per step.
        inner: the decoder.
    """

    name: ClassVar[str] = "reorder"
    needs: ClassVar[Knowledge] = Knowledge.AUXILIARY | Knowledge.WEIGHTS | Knowledge.POLICY

    width: int = 256
    steps: int = 400
    batch: int = 64
    inner: Decoder = field(default_factory=Decoder)

    def fit(self, link: Link, threat: ThreatModel, images: Tensor) -> None:
        """Learn the places from a rehearsal, then train the decoder on what she recovers."""
        threat.require(self.needs, self.name)
        rows, _ = held_out(len(images))
        tokens = threat.rehearse(link, images).tokens.select(rows)
        assert tokens.source is not None
        self.prefix, self.patches = tokens.prefix, tokens.source.shape[1]
        self.mean, self.scale = tokens.values.mean(0), tokens.values.std(0).clamp_min(1e-6)
        width = tokens.values.shape[1]
        self.network = nn.Sequential(
            nn.Linear(width, self.width), nn.GELU(), nn.Linear(self.width, self.patches)
        )  # fmt: skip
        optimizer = torch.optim.AdamW(self.network.parameters(), 3e-3, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=self.steps, pct_start=0.1)
        for _ in track(range(self.steps), "learning the places of tokens"):
            part = tokens.select(torch.randint(len(tokens), (min(self.batch, len(tokens)),)))
            assert part.source is not None
            loss = nn.functional.cross_entropy(self._scores(part).transpose(1, 2), part.source, ignore_index=NOWHERE)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        self.inner.fit(link, Recovered(**vars(threat), attack=self), images)
        self.history = self.inner.history

    def reconstruct(self, seen: Observation) -> Tensor:
        """Put the tokens back, then decode."""
        return self.inner.reconstruct(self.recover(seen))

    @torch.no_grad()
    def recover(self, seen: Observation) -> Observation:
        """The observation with the merge map that the network believes in."""
        scores, maps = self._scores(seen.tokens), []
        for own, count in zip(scores, seen.tokens.counts, strict=True):
            own = own[:, :count]
            if count - self.prefix == self.patches:
                _, choice = linear_sum_assignment(own[:, self.prefix :].numpy(), maximize=True)
                maps.append(torch.from_numpy(choice) + self.prefix)
            else:
                maps.append(own.argmax(1))
        return replace(seen, tokens=replace(seen.tokens, source=torch.stack(maps)))

    def _scores(self, tokens: TokenBatch) -> Tensor:
        """``[B, P, longest]``: how likely each patch ended in each token; protected tokens and padding never."""
        padded, real = tokens.with_values(self.network((tokens.values - self.mean) / self.scale)).padded()
        real = real.clone()
        real[:, : self.prefix] = False
        return padded.transpose(1, 2).masked_fill(~real[:, None], -1e4)


@dataclass(frozen=True)
class Recovered(ThreatModel):
    """The same adversary, who puts tokens back before she looks at them."""

    attack: Reorder = field(kw_only=True)
    knows: Knowledge = Knowledge.EVERYTHING

    def __post_init__(self) -> None:
        object.__setattr__(self, "knows", self.knows | Knowledge.MERGE_MAP)

    def tap_images(self, link: Link, images: Tensor, seed: int = 0) -> Observation:
        """What she makes of what she sees."""
        return self.attack.recover(super().tap_images(link, images, seed))
