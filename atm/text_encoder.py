"""Device and server parts of a BERT-like encoder, which takes in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from atm.bert import Bert
from atm.encoder import Encoder
from atm.signals import TextSignal
from atm.tokens import TokenBatch
from atm.words import Words


class TextEncoder(Encoder):
    """`atm.encoder.Encoder` for sentences ``[B, L]`` of words.

    Args:
        model: as it is.
        words: its tokenizer.
        longest: words of a sentence at most.
    """

    def __init__(self, model: Bert, words: Words, longest: int) -> None:
        super().__init__(model)
        self.words, self.longest = words, longest

    def _take_in(self, mean: Sequence[float], std: Sequence[float]) -> float:
        """Nothing is normalised, and embeddings are looked up."""
        return 0.0

    def around(self, vit: nn.Module) -> TextEncoder:
        """The same around another model, in evaluation mode and frozen."""
        assert isinstance(vit, Bert)
        return TextEncoder(vit, self.words, self.longest).eval().requires_grad_(False).to(self.device)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.vit.words.weight.device
        return device

    @property
    def embeddings(self) -> Tensor:
        """``[V, d]``, of all words."""
        table: Tensor = self.vit.words.weight.detach()
        return table

    @cached_property
    def signal(self) -> TextSignal:
        """Sentences of the tokenizer's words; their units are the model's embeddings."""
        words = self.words
        return TextSignal.of(self.longest, words.pieces, self.embeddings.cpu().float(), words.cut, words.join)

    def start(self, images: Tensor, places: bool = False) -> TokenBatch:
        """The tokens of sentences before the first layer, with places where asked; see `atm.bert.Bert.embed`."""
        found: TokenBatch = self.vit.embed(images, places)
        return found
