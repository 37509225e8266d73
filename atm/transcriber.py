"""What a server does with received tokens of speech: Whisper's decoder writes down what was said.

The decoder attends to whatever tokens there are (Radford et al. 2022), and is told neither where they stood nor what
each stands for. It learned from windows of 30 s, and says everything again and again where a shorter one ends; so the
server puts the tokens of silence behind those that it has received, as many as such a window has more than the
device's.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

FASTEST = 8  # of the model's words in a second, and as many more: nobody speaks faster, but a model can go on for ever
AT_ONCE = 32  # memories of one length
SILENCE = -0.75  # in the recipe's unit: eight decades below a voice, where Whisper's spectrograms end


class Transcriber(nn.Module):
    """Whisper's decoder with its words.

    Args:
        model: ``WhisperForConditionalGeneration`` of ``transformers``.
        words: its tokenizer, of ``tokenizers``.
    """

    def __init__(self, model: Any, words: Any) -> None:
        super().__init__()
        self.model, self.words = model, words
        options = model.generation_config
        speaks = getattr(options, "lang_to_id", None) or {}  # of several languages; English is taken
        says = getattr(options, "task_to_id", None) or {}
        begins = [options.decoder_start_token_id, speaks.get("<|en|>"), says.get("transcribe"),
                  getattr(options, "no_timestamps_token_id", None)]  # fmt: skip
        self.begins = [int(number) for number in begins if number is not None]

    @cached_property
    def silence(self) -> Tensor:
        """``[positions, d]``: the tokens of a whole window without a sound."""
        config = self.model.config
        quiet = torch.full((1, config.num_mel_bins, 2 * config.max_source_positions), SILENCE)
        with torch.no_grad():
            return self.model.get_encoder()(quiet.to(self.model.device)).last_hidden_state[0]

    @torch.no_grad()
    def write(self, received: Sequence[Tensor], places: int, seconds: float) -> list[str]:
        """What was said in each sound, always the likeliest word.

        Args:
            received: of each sound the tokens ``[n, d]`` after the encoder's norm.
            places: of the device's window, unmerged.
            seconds: that it lasts.
        """
        from transformers import GenerationMixin
        from transformers.modeling_outputs import BaseModelOutput

        options = copy.deepcopy(self.model.generation_config)
        options.max_length = None
        most = min(round(FASTEST * (1 + seconds)), self.model.config.max_target_positions - len(self.begins))
        options.update(max_new_tokens=most, do_sample=False, num_beams=1)
        memories = [torch.cat([tokens, self.silence[places:].to(tokens)]) for tokens in received]
        found = [""] * len(memories)
        for length in sorted({len(memory) for memory in memories}):
            alike = [row for row, memory in enumerate(memories) if len(memory) == length]
            for rows in (alike[begin : begin + AT_ONCE] for begin in range(0, len(alike), AT_ONCE)):
                memory = torch.stack([memories[row] for row in rows])
                begins = torch.tensor([self.begins], device=memory.device).expand(len(rows), -1)
                said = GenerationMixin.generate(  # Whisper's own wants spectrograms, and cuts them into windows
                    self.model,
                    encoder_outputs=BaseModelOutput(last_hidden_state=memory),
                    decoder_input_ids=begins,
                    generation_config=options,
                )
                for row, numbers in zip(rows, said[:, len(self.begins) :].tolist(), strict=True):
                    found[row] = str(self.words.decode(numbers, skip_special_tokens=True)).strip()
        return found
