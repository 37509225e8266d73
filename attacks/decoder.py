"""A learned inversion network, trained on what the adversary really sees of her own images."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from atm import precision
from atm.knowledge import Knowledge
from atm.rows import few
from atm.signals import arrays
from atm.threat import Observation, ThreatModel
from atm.tokens import TokenBatch
from attacks.base import ALIGNABLE, Attack, held_out, mean_and_scale, patch_features, require
from attacks.discriminant import token_features
from attacks.history import History
from attacks.network import InversionNetwork, Size
from attacks.oracle import Oracle
from attacks.ridge import Ridge
from attacks.training import PIXELS, Schedule, train, trial_step
from attacks.varied import Varied

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Decoder(Attack):
    """A transformer and convolutions that correct a first estimate, so that they never start behind ridge.

    An adversary with the merge map, or one who can recover it, gives each patch its token. Where the map is hidden,
    the patches also attend to the received tokens as the unordered set that they are; one who cannot recover a map has
    nothing else, and starts from the mean image. It starts from ridge and not from `attacks.context`, which is better:
    after 500 steps on moderately merged tokens of ``vit_cifar10`` the held-out loss was .476 from the one and .509 from
    the other.

    Attributes:
        size: of the network; None is the one that suits the signal's patches.
        schedule: of the training.
        loss: of an estimate and the images, both ``[B, C, H, W]``; None is the signal's own.
    """

    name: ClassVar[str] = "decoder"
    order: ClassVar[int] = 1
    QUICK: ClassVar[dict[str, Any]] = {"schedule": replace(PIXELS, steps=200, every=50)}

    size: Size | None = None
    schedule: Schedule = PIXELS
    loss: Loss | None = None

    @classmethod
    def share(cls, threat: ThreatModel) -> float:
        """Much, because all that descend start from it."""
        return 6

    def fit(self, oracle: Oracle) -> None:
        """Fit ridge where a map is there or can be found, then train the correction."""
        require(self, oracle.threat)
        self.ridge = oracle.fitted(Ridge) if any(option in oracle.knows for option in ALIGNABLE) else None
        self.complete = oracle.complete
        self.has_map = Knowledge.MERGE_MAP in oracle.knows
        self.signal, self.mean_image = oracle.signal, oracle.images.mean(0)
        self.learn(oracle)

    def learn(self, oracle: Oracle) -> None:
        """Train on what is seen of the auxiliary images."""
        if not self.has_map:
            self.token_mean, self.token_scale = mean_and_scale(
                token_features(oracle.observe(rows)) for rows in oracle.batches()
            )
        _, features, tokens = self._inputs(self._sight(oracle)(torch.arange(1)))
        network = InversionNetwork(
            0 if features is None else features.shape[-1],
            0 if tokens is None else tokens.values.shape[-1],
            arrays(oracle.signal),
            self.size or Size.suited(arrays(oracle.signal)),
        )
        self.network = network.to(oracle.device)
        self.history = self.train(oracle, self.loss or oracle.signal.loss, self.schedule, f"the {self.name}")

    def train(self, oracle: Oracle, loss: Loss, schedule: Schedule, what: str) -> History:
        """Train the network further, by a loss of estimates and images: hers, and variations of them if time allows."""
        (rows, held), count = held_out(len(oracle.images)), len(oracle.images)
        parts = [(self._sight(oracle), oracle.images)]

        def loss_on(chosen: Tensor) -> Tensor:
            own = [chosen[chosen < count], chosen[chosen >= count] - count]
            found = [(see(of), images[of]) for (see, images), of in zip(parts, own, strict=False) if len(of)]
            seen, images = zip(*found, strict=True)
            return loss(self._run(*self._inputs(Observation.cat(seen))), torch.cat(images))

        step = trial_step(self.network, loss_on, rows[: schedule.batch])
        times = Varied.affordable(oracle, schedule, step)
        if times:
            varied = oracle.fitted(Varied, times=times)
            parts.append((varied.observe, varied.oracle.images))
            rows = torch.cat([rows, count + torch.arange(len(varied.oracle.images))])
        return train(self.network, loss_on, rows, held, schedule, what, oracle.budget)

    def copied(self) -> Decoder:
        """The same with a network of its own, which may be trained further."""
        made = copy.copy(self)
        made.network = copy.deepcopy(self.network)
        return made

    def _sight(self, oracle: Oracle) -> Callable[[Tensor], Observation]:
        """What she sees of rows of her images: with a merge map, where it starts from ridge."""
        return oracle.observe if self.ridge is None else oracle.mapped

    @torch.no_grad()
    def reconstruct(self, seen: Observation) -> Tensor:
        """The corrected estimate, clipped to [0, 1]."""
        size = few(2 * self.signal.places * seen.tokens.values.shape[-1], 256)
        parts = torch.arange(len(seen)).split(size)
        return self.signal.clip(torch.cat([self._run(*self._inputs(seen.select(rows))) for rows in parts]))

    @torch.no_grad()
    def _inputs(self, seen: Observation) -> tuple[Tensor, Tensor | None, TokenBatch | None]:
        """First estimate ``[B, C, H, W]``, standardised features of the patches, standardised tokens; as far as any."""
        start, features, tokens = self.mean_image.expand(len(seen), -1, -1, -1), None, None
        if self.ridge is not None:
            seen = self.complete(seen)
            found = patch_features(seen)
            start, features = self.ridge.estimate(found), self.ridge.linear.standard(found)
        if not self.has_map:
            tokens = seen.tokens.with_values((token_features(seen) - self.token_mean) / self.token_scale)
        return start, features, tokens

    def _run(self, start: Tensor, features: Tensor | None, tokens: TokenBatch | None) -> Tensor:
        padded = (None, None) if tokens is None else tokens.padded()
        with precision.fast(start.device):
            return self.network(start, features, *padded).float()
