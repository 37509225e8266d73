"""Systems with a leak of known size, for attacks to find."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from atm.encoder import Encoded, Encoder
from atm.link import Link
from atm.policy import MergePolicy
from atm.signals import ImageSignal
from atm.threat import ThreatModel
from atm.tokens import TokenBatch
from attacks.base import Attack
from attacks.session import Session
from tests.atm.models import tiny_vit

GRID = (4, 4)
SIGNAL = ImageSignal((3, 32, 32), GRID)
SERVER = ThreatModel("server")


class PlantedEncoder(Encoder):
    """A device whose tokens are made from the patches by a given function ``[B, P, pixels] -> [B, P, d]``.

    The server answers nothing.
    """

    def __init__(self, tokens_of: Callable[[Tensor], Tensor]) -> None:
        super().__init__(tiny_vit())
        self.eval().requires_grad_(False)
        self.tokens_of = tokens_of
        self.values = tokens_of(torch.rand(1, SIGNAL.places, SIGNAL.unit)).shape[-1]

    @property
    def width(self) -> int:
        return self.values

    def forward(self, images: Tensor, policy: MergePolicy) -> Encoded:
        values = self.tokens_of(SIGNAL.to_units(images))
        tokens = TokenBatch.dense(torch.cat([values.mean(1, keepdim=True), values], 1), 1)
        return Encoded(tokens, tokens.lengths.expand(policy.device_layers + 1, -1), torch.zeros(len(images)).double())

    def finish(self, tokens: TokenBatch, policy: MergePolicy) -> Tensor:
        return torch.zeros(len(tokens), 5)


class PlantedLink(Link):
    """A link over which such tokens travel uncoded; everything behind the encoder is as in any other."""

    def __init__(self, tokens_of: Callable[[Tensor], Tensor]) -> None:
        super().__init__(PlantedEncoder(tokens_of), MergePolicy.uniform(1.0, 3))


def rebuild(attack: Attack, link: Link, auxiliary: Tensor, victims: Tensor, threat: ThreatModel = SERVER) -> Tensor:
    """What an attack that was fitted to a session of its own makes of some victims."""
    session = Session(link, threat, auxiliary)
    torch.manual_seed(0)
    attack.fit(session.oracle())
    return attack.reconstruct(session.victims(victims)[1])


def rotation(width: int = 192, seed: int = 0) -> Tensor:
    return torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(seed)))[0]


def pictures(count: int, seed: int = 0) -> Tensor:
    """Smooth random pictures ``[count, 3, 32, 32]`` with some structure in every patch."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 9, 9, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bicubic").clamp(0, 1)
