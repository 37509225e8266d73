"""Device and server parts of a model that answers questions about pictures."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from atm.encoder import Encoder
from atm.language import Language, Scored
from atm.policy import MergePolicy
from atm.signals import AskedSignal
from atm.tokens import TokenBatch

FEW = 32  # pictures whose tokens are copied at a time


class AskedEncoder(Encoder):
    """`atm.encoder.Encoder` around a vision tower, whose server hands the tokens to a language model.

    Without a question the server gives what a tower without a head gives.

    Args:
        vit: the tower's layers as far as the language model reads them.
        language: what the server does with their tokens.
        mean: see `atm.encoder.Encoder`.
        std: likewise.
    """

    def __init__(self, vit: nn.Module, language: Language, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__(vit, mean, std)
        self.language = language

    def around(self, vit: nn.Module) -> AskedEncoder:
        """The same around another tower, in evaluation mode and frozen."""
        mean, std = (tensor.flatten().tolist() for tensor in (self.mean, self.std))
        return AskedEncoder(vit, self.language, mean, std).eval().requires_grad_(False).to(self.device)

    @property
    def signal(self) -> AskedSignal:
        """Pictures, with questions about them."""
        return AskedSignal(self.input_shape, self.patch_grid)

    def counts_sizes(self, policy: MergePolicy) -> bool:
        """As for any victim, but that what reads the tokens of the last layer asks for no sizes."""
        later = policy.proportional_attention and policy.device_layers < self.depth
        return later and any(policy.merges_at(layer) for layer in range(policy.device_layers))

    def score(
        self, tokens: TokenBatch, policy: MergePolicy, questions: Sequence[str], answers: Sequence[str]
    ) -> Scored:
        """How well answers fit questions about received tokens; see `atm.language.Language.score`."""
        return self.language.score(self._rest(tokens, policy), questions, answers)

    def answer(
        self, tokens: TokenBatch, policy: MergePolicy, questions: Sequence[str], answers: Sequence[str]
    ) -> Tensor:
        """``[B]`` int64: the number of the answer with the least loss to each question about received tokens."""
        found = []
        for rows in torch.arange(len(tokens)).split(FEW):
            asked = [questions[row] for row in rows.tolist()]
            found.append(self.score(tokens.select(rows), policy, asked, answers).losses.argmin(-1))
        return torch.cat(found)

    def say(self, tokens: TokenBatch, policy: MergePolicy, questions: Sequence[str], longest: int) -> list[str]:
        """What the server says to questions about received tokens; see `atm.language.Language.say`."""
        return self.language.say(self._rest(tokens, policy), questions, longest)
