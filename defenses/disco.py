"""Channels that are silenced picture by picture, chosen against a decoder (DISCO)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from atm.tokens import TokenBatch
from defenses.base import check
from defenses.learned import Leak, Learned, PatchDecoder

SHARPNESS = 10.0  # of the soft choice that gradients go through


class Disco(Learned):
    """Silences a part of the channels of a picture's tokens; ``disco:0.6`` of them 60%, ``disco:0.6:2`` with weight 2.

    Which ones a small network chooses for each picture from the mean of its tokens, trained to keep the victim's
    answers while a decoder fails (Singh et al. 2021, arXiv 2012.11025, who train the device too). Which channels are
    silent is seen by whoever sees the tokens.
    """

    name = "disco"

    def __init__(self, ratio: float = 0.5, weight: float = 1.0) -> None:
        check(0 <= ratio < 1, self.name, ratio, "the part of the channels to silence is at least 0 and below 1")
        super().__init__(weight)
        self.ratio = ratio

    def begin(self, tokens: TokenBatch, patches: Tensor) -> tuple[nn.Module, Leak]:
        """A choice that is as good as random; what the decoder gets right."""
        width = tokens.values.shape[1]
        return _Silencer(width, min(round(self.ratio * width), width - 1)), PatchDecoder(width, patches).gets

    def flops(self, lengths: Tensor) -> Tensor:
        """The choice, once for each picture."""
        return super().flops(torch.ones_like(lengths))


class _Silencer(nn.Module):
    def __init__(self, width: int, silent: int) -> None:
        super().__init__()
        self.silent = silent
        self.choose = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, tokens: TokenBatch) -> Tensor:
        """``[T, d]``; on the way back the hard choice is taken for a soft one."""
        values, image = tokens.values, tokens.image_of_token
        total = values.new_zeros(len(tokens), values.shape[1]).index_add(0, image, values)
        scores = self.choose(total / tokens.lengths.to(values.device)[:, None])
        ranks = scores.argsort(-1).argsort(-1)
        soft = (SHARPNESS * (scores - scores.mean(-1, keepdim=True))).sigmoid()
        hard = (ranks >= self.silent).to(values)
        return values * (hard + soft - soft.detach())[image]
