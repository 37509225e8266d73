"""Device and server parts of a model that writes down what was said."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from atm.encoder import Encoder
from atm.policy import MergePolicy
from atm.signals.spectrogram import HOP, RATE
from atm.tokens import TokenBatch
from atm.transcriber import Transcriber


class SpeechEncoder(Encoder):
    """`atm.encoder.Encoder` around an encoder of speech, whose server hands the tokens to a decoder.

    Args:
        vit: the encoder's layers and its norm.
        transcriber: what the server does with their tokens.
        mean: see `atm.encoder.Encoder`.
        std: likewise.
        spectrogram: likewise.
    """

    def __init__(
        self,
        vit: nn.Module,
        transcriber: Transcriber,
        mean: Sequence[float],
        std: Sequence[float],
        spectrogram: str,
    ) -> None:
        super().__init__(vit, mean, std, spectrogram)
        self.transcriber = transcriber

    def around(self, vit: nn.Module) -> SpeechEncoder:
        """The same around other layers, in evaluation mode and frozen."""
        mean, std = (tensor.flatten().tolist() for tensor in (self.mean, self.std))
        made = SpeechEncoder(vit, self.transcriber, mean, std, self.spectrogram)
        return made.eval().requires_grad_(False).to(self.device)

    def transcribe(self, tokens: TokenBatch, policy: MergePolicy) -> list[str]:
        """What was said in each sound, from received tokens."""
        rest = self._rest(tokens, policy)
        seconds = self.input_shape[2] * HOP / RATE
        return self.transcriber.write(
            self.vit.norm(rest.values).split(rest.lengths.tolist()), self.signal.places, seconds
        )

    @torch.no_grad()
    def dictated(self, sounds: Tensor, batch: int = 32) -> list[str]:
        """What is said in spectrograms ``[B, 1, bins, frames]`` in [0, 1], of which nothing is merged."""
        policy = MergePolicy.uniform(1.0, self.depth)
        parts = sounds.split(batch)
        return [text for part in parts for text in self.transcribe(self(part.to(self.device), policy).tokens, policy)]
