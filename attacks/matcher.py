"""The network that tells of all tokens of an image together where each belongs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from atm import precision
from atm.tokens import TokenBatch
from attacks.discriminant import MOST_TOLD, Discriminant, permitted
from attacks.network import Block


class Matcher(nn.Module):
    """A set transformer over what tokens tell by themselves (`attacks.discriminant`), which it corrects.

    Until it is trained it says what they do.

    Args:
        features: of a token.
        patches: places of an image.
        width: of the transformer.
        layers: of the transformer.
    """

    def __init__(self, features: int, patches: int, width: int, layers: int) -> None:
        super().__init__()
        self.patches = patches
        self.embed = nn.Linear(features + patches, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(layers))
        self.norm, self.out = nn.LayerNorm(width), nn.Linear(width, patches)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.trust = nn.Parameter(torch.tensor(0.5))  # in what tokens tell by themselves

    @classmethod
    def over(cls, discriminant: Discriminant, width: int, layers: int) -> Matcher:
        """One for what a discriminant tells, on its device."""
        features, places = discriminant.slopes.shape
        return cls(features, places, width, layers).to(discriminant.slopes.device)

    def scores(self, tokens: TokenBatch) -> Tensor:
        """``[B, P, t]`` float32: scores of each patch for each token, of tokens with values ``[T, f + P]``."""
        with precision.fast(tokens.values.device):
            return self(*tokens.padded(), tokens.prefix).float()

    def forward(self, tokens: Tensor, mask: Tensor, prefix: int) -> Tensor:
        """Tokens ``[B, t, f + P]`` and their mask -> scores ``[B, P, t]`` of each patch for each token."""
        told = tokens[..., -self.patches :]
        around = (told - told.mean(-1, keepdim=True)).clamp(-MOST_TOLD, MOST_TOLD)
        x = self.embed(torch.cat([tokens[..., : -self.patches], around / 10], -1))
        for block in self.blocks:
            x = block(x, mask=mask)
        scores = (self.trust * told.clamp_min(-MOST_TOLD) + self.out(self.norm(x))).transpose(1, 2)
        return permitted(scores, mask, prefix)
