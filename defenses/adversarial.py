"""A trained projection that keeps the task and starves a decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from atm.tokens import TokenBatch
from defenses.learned import Leak, Learned, PatchDecoder


class Adversarial(Learned):
    """A linear bottleneck trained against a decoder; ``adversarial:2`` weighs the decoder's error twice.

    In turns a small decoder learns to rebuild patches from projected tokens, and the projection learns to keep the
    victim's own answers while that decoder fails (adversarial representation learning, as in arXiv 1904.12053). The
    bottleneck has a quarter of the tokens' width, so that what it drops no later attack can bring back; what it keeps,
    a stronger decoder than the one trained against may still use.
    """

    name = "adversarial"

    def begin(self, tokens: TokenBatch, patches: Tensor) -> tuple[nn.Module, Leak]:
        """The leading quarter of the tokens' principal components; what the decoder gets right."""
        width, values = tokens.values.shape[1], self.standard(tokens).values
        _, directions = torch.linalg.eigh(values.T @ values)
        return _Bottleneck(directions[:, -max(1, width // 4) :]), PatchDecoder(width, patches).gets


class _Bottleneck(nn.Module):
    def __init__(self, basis: Tensor) -> None:
        super().__init__()
        self.down, self.up = nn.Parameter(basis.clone()), nn.Parameter(basis.T.clone())

    def forward(self, tokens: TokenBatch) -> Tensor:
        return tokens.values @ self.down @ self.up
