"""Several reconstructions of one picture, averaged as held-out pictures tell, direction by direction."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from atm.knowledge import Knowledge
from atm.signals import arrays
from atm.threat import Observation, ThreatModel
from attacks.base import ALIGNABLE, Attack, held_out, mean_and_scale, require
from attacks.context import Context
from attacks.decoder import Decoder
from attacks.kernel import Kernel
from attacks.oracle import Oracle
from attacks.ridge import Ridge
from attacks.whole import Whole

MOST = 400  # held-out pictures that weights are fitted to
DAMPING = 1e-3  # of the weights, relative to how much reconstructions vary


class Stacked(Attack):
    """The mean of what ridge, context, whole, kernel and decoder rebuild, with weights fitted to held-out pictures.

    Methods err differently: a linear one is steady in what is coarse, a network knows what is fine, and the errors of
    two methods cancel in part. So in each principal direction of a patch every method has a weight of its own, by least
    squares on pictures of the adversary's own that none was trained on (Wolpert 1992; Breiman 1996). Where weights that
    one half of these give do no better on the other half than the best method alone, it is that method.
    """

    name: ClassVar[str] = "stacked"
    order: ClassVar[int] = 2
    needs_one_of: ClassVar[tuple[Knowledge, ...]] = ALIGNABLE

    @classmethod
    def share(cls, threat: ThreatModel) -> float:
        """Little: all that it averages is fitted by others."""
        return 0.25

    def fit(self, oracle: Oracle) -> None:
        """Rebuild the held-out pictures by each method, and solve for the weights."""
        require(self, oracle.threat)
        self.signal = arrays(oracle.signal)
        self.members: list[Attack] = [oracle.fitted(make) for make in (Ridge, Context, Whole, Kernel, Decoder)]
        self.history = self.members[-1].history  # what the decoder lacks, this lacks
        train, held = held_out(len(oracle.images))
        held = held[:MOST]
        truth = self.signal.to_units(oracle.images[held])
        rebuilt = torch.cat([self._rebuilt(oracle.observe(rows)) for rows in oracle.batches(held)])
        # Not of these, which may be two: their mean is nearer to them than to any victim, and weights would lean on it.
        learned = (self.signal.to_units(oracle.images[rows]).flatten(1) for rows in oracle.batches(train))
        self.mean = mean_and_scale(learned)[0].view_as(truth[0])
        centred = (truth - self.mean).flatten(0, 1).double()
        self.directions = torch.linalg.eigh(centred.T @ centred)[1].to(truth)
        self.weights = self._chosen(self._along(rebuilt - self.mean[..., None]), (truth - self.mean) @ self.directions)

    def reconstruct(self, seen: Observation) -> Tensor:
        """The weighted mean, clipped to [0, 1]."""
        found = self._along(self._rebuilt(seen) - self.mean[..., None])
        return self.signal.clip(self.signal.from_units((found * self.weights).sum(-1) @ self.directions.T + self.mean))

    @torch.no_grad()
    def _rebuilt(self, seen: Observation) -> Tensor:
        """``[B, P, u, methods]``: the patches that each method makes of an observation."""
        return torch.stack([self.signal.to_units(member.reconstruct(seen)) for member in self.members], -1)

    def _along(self, rebuilt: Tensor) -> Tensor:
        """The same along the principal directions."""
        return torch.einsum("bpum,ud->bpdm", rebuilt, self.directions)

    def _chosen(self, found: Tensor, wanted: Tensor) -> Tensor:
        """``[u, methods]``: weights of ``[n, P, u, methods]`` for ``[n, P, u]``, or one method's alone."""
        alone = (found - wanted[..., None]).square().sum((0, 1, 2))
        best = one_hot(alone.argmin(), len(alone)).to(found).expand(found.shape[2], -1)
        halves = torch.arange(len(found)).split(-(-len(found) // 2))
        if len(halves) < 2:
            return best
        crossed = 0.0
        for mine, other in (halves, halves[::-1]):
            weights = _solved(found[mine].flatten(0, 1), wanted[mine].flatten(0, 1))
            crossed += float(((found[other] * weights).sum(-1) - wanted[other]).square().sum())
        return _solved(found.flatten(0, 1), wanted.flatten(0, 1)) if crossed < float(alone.min()) else best


def _solved(found: Tensor, wanted: Tensor) -> Tensor:
    """``[u, methods]``: for each direction the weights of ``[n, u, methods]`` that come nearest to ``[n, u]``."""
    x = found.transpose(0, 1).double()
    products, wished = x.mT @ x, x.mT @ wanted.T.double()[..., None]
    level = products.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    damped = products + (DAMPING * level + 1e-12) * torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    return torch.linalg.solve(damped, wished)[..., 0].to(found)
