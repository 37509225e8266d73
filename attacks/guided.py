"""What sentences look like at the exit of a device that merges as an observed map says."""

from __future__ import annotations

import torch
from torch import Tensor

from atm import matching
from atm.encoder import Encoder
from atm.policy import MergePolicy
from atm.tokens import NOWHERE, TokenBatch
from attacks.objective import Likelihood, together


class Guided(Likelihood):
    """The likelihood of sentences, of which the adversary tries whole words and what lies between words.

    A candidate is ``[B, L]`` of words, or ``[B, L, d]`` of what takes the place of their embeddings, zeros where there
    is no word. It merges layer by layer as the device would, but never what the map keeps apart, and at the exit all
    that the map has together. So nothing is approximated for the sentence that was sent: where two of its tokens merge
    they end together, and a destination that is ruled out was no better than the one that was taken.
    """

    def encoded(self, images: Tensor, source: Tensor | None) -> TokenBatch:
        """The tokens of candidates at the exit, merged on the way along a map, or not at all."""
        encoder, policy = self.link.encoder, self.link.policy
        tokens = encoder.start(images)
        if source is None:
            return along(encoder, tokens, self.unmerged, None)
        return together(along(encoder, tokens, policy, source), source, policy.average)


def along(encoder: Encoder, tokens: TokenBatch, policy: MergePolicy, source: Tensor | None) -> TokenBatch:
    """The device's layers from its first tokens on; they merge only what ends in the same token of a map ``[B, P]``."""
    for layer in range(policy.device_layers):
        tokens, projected = encoder.mix(tokens, policy, layer)
        if source is not None and policy.merges_at(layer):
            tokens = matching.merged(tokens, projected, policy, layer, _groups(tokens, source))
        tokens = encoder.transform(tokens, layer)
    return tokens


def _groups(tokens: TokenBatch, source: Tensor) -> Tensor:
    """``[T]``: for each token where the map has its words, and a number of its own where it has them nowhere."""
    assert tokens.source is not None
    image, place = (tokens.source != NOWHERE).nonzero(as_tuple=True)
    rows = tokens.source[image, place] + tokens.offsets.to(source.device)[image]
    groups = -1 - torch.arange(len(tokens.values), device=source.device)
    known = source[image, place] != NOWHERE
    groups[rows[known]] = source[image, place][known]
    return groups
