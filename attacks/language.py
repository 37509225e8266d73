"""A language model as a prior over sentences: how likely people are to write one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from atm.errors import AtmError, one_line
from atm.weight_files import state_digest
from privacy_metrics.extras import extra

AT_ONCE = 32  # sentences


@dataclass(frozen=True)
class LanguageModel:
    """A causal model of ``transformers`` with its own tokenizer, which sees sentences as text.

    Attributes:
        name: its folder.
        model: gives logits.
        tokenizer: its own.
    """

    name: str
    model: Any
    tokenizer: Any

    @classmethod
    def read(cls, folder: str) -> LanguageModel:
        """One from a folder with its configuration, safetensors and tokenizer.

        Raises:
            AtmError: ``transformers`` is missing, or the folder holds no such model, or a tokenizer that has no token
                to begin a sentence from.
        """
        try:
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError:
            raise AtmError(f"a language model needs transformers; {extra('hf')}") from None
        local = {"local_files_only": True, "trust_remote_code": False}
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, **local)
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True, **local)
        except Exception as error:  # the library raises exceptions of many kinds
            raise AtmError(f"--prior {folder} holds no causal language model: {one_line(error)}") from None
        if tokenizer.bos_token_id is None and tokenizer.eos_token_id is None:
            raise AtmError(f"--prior {folder}: its tokenizer has no token for the beginning or the end of a sentence")
        return cls(folder, model.eval().requires_grad_(False), tokenizer)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its weights, in hex."""
        return state_digest(self.model)

    @torch.no_grad()
    def log_likelihood(self, sentences: Sequence[str]) -> Tensor:
        """``[n]`` float64: the natural logarithm of each sentence's probability, beginning from nothing."""
        found = []
        for start in range(0, len(sentences), AT_ONCE):
            cut = self.tokenizer(list(sentences[start : start + AT_ONCE]), add_special_tokens=False)["input_ids"]
            begin = self.tokenizer.bos_token_id
            begin = self.tokenizer.eos_token_id if begin is None else begin
            rows = [torch.tensor([begin, *ids], device=self.model.device) for ids in cut]
            ids = pad_sequence(rows, batch_first=True, padding_value=begin)
            lengths = torch.tensor([len(row) for row in rows], device=ids.device)
            mask = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]
            logits = self.model(input_ids=ids, attention_mask=mask.long()).logits[:, :-1]
            surprise = cross_entropy(logits.transpose(1, 2).float(), ids[:, 1:], reduction="none")
            found.append(-(surprise * mask[:, 1:]).double().sum(1))
        return torch.cat(found).cpu() if found else torch.zeros(0, dtype=torch.float64)
