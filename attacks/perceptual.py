"""The learned decoder trained further for what people see: by LPIPS, which forgives another sample of a texture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from atm.threat import Observation, ThreatModel
from attacks.base import Attack, require
from attacks.decoder import Decoder
from attacks.oracle import Oracle
from attacks.training import PIXELS, Schedule
from privacy_metrics.perceptual import LpipsUnavailable, distance

ONWARD = replace(PIXELS, rate=PIXELS.rate / 2, every=100)  # a network that has been trained already
CROP = 96  # pixels of a side: what LPIPS sees of a larger picture in a step of the training


@dataclass
class Perceptual(Attack):
    """Goes on from the decoder with the signal's loss plus LPIPS, and draws edges and texture where that blurs.

    Errors of pixels are least where everything is blurred that the tokens leave open, and what is blurred is hard to
    recognise. LPIPS (Zhang et al., CVPR 2018) compares features of AlexNet, in which a likely texture is better than
    none. Both are on the scale of 0 to 1 and count the same. Of a large picture a step shows AlexNet one random square,
    since it would take most of the time otherwise; held-out pictures are judged whole, and the network ends with the
    weights, the decoder's own included, that were best on them. So where nothing is gained it answers as the decoder
    does, after a few looks.

    Attributes:
        schedule: of the training.
    """

    name: ClassVar[str] = "perceptual"
    order: ClassVar[int] = 2
    signals: ClassVar[tuple[str, ...]] = ("image", "asked-image")
    standard: ClassVar[bool] = False
    QUICK: ClassVar[dict[str, Any]] = {"schedule": replace(ONWARD, steps=100, every=50)}

    schedule: Schedule = ONWARD

    @classmethod
    def share(cls, threat: ThreatModel) -> float:
        """Half of the decoder's, from which it goes on."""
        return 3

    @classmethod
    def lacks(cls) -> str | None:
        """Why there is no LPIPS."""
        try:
            distance(torch.device("cpu"))
        except LpipsUnavailable as error:
            return f"attack {cls.name!r} cannot run here: {error}"
        return None

    def fit(self, oracle: Oracle) -> None:
        """Train a copy of the decoder's network.

        Raises:
            LpipsUnavailable: AlexNet's weights are missing.
        """
        require(self, oracle.threat)
        lpips = distance(oracle.device)
        self.decoder = oracle.fitted(Decoder).copied()

        def loss(estimate: Tensor, truth: Tensor) -> Tensor:
            shown = _square(estimate, truth) if self.decoder.network.training else (estimate, truth)
            return oracle.signal.loss(estimate, truth) + lpips(*shown).mean()

        self.history = self.decoder.train(oracle, loss, self.schedule, f"the {self.name} decoder")

    def reconstruct(self, seen: Observation) -> Tensor:
        """What the decoder makes of it since."""
        return self.decoder.reconstruct(seen)


def _square(estimate: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """The same random square of both, at most `CROP` pixels a side."""
    rows, columns = (_span(side) for side in truth.shape[2:])
    return estimate[..., rows, columns], truth[..., rows, columns]


def _span(side: int) -> slice:
    begin = int(torch.randint(max(side - CROP, 0) + 1, ()))
    return slice(begin, begin + CROP)
