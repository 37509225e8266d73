"""What a server does with received tokens and a question: a projector puts them in front of a causal language model.

LLaVA (Liu et al., 2023, arXiv 2304.08485): the tokens of a vision tower, projected to the width of words, take the
place of ``<image>`` in the prompt. Tokens go through as they are, in the order in which they arrive, and a merged one
is one: fewer tokens are a shorter prompt. Nothing pools them, so that nobody needs to know where they stood.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from atm.errors import AtmError
from atm.tokens import TokenBatch

IMAGE, QUESTION = "<image>", "{question}"
AT_ONCE = 16  # answers that are compared at a time, each with a copy of what the model remembers of the prompt


class Scored(NamedTuple):
    """How well answers fit.

    Attributes:
        losses: ``[B, A]`` float, the negative logarithm of each answer's probability, with its end.
        exact: ``[B, A]`` bool, whether the model says exactly this answer where it always says the likeliest word.
    """

    losses: Tensor
    exact: Tensor


class Language(nn.Module):
    """A projector and a causal language model of ``transformers``.

    Args:
        model: the language model, or one that answers to the same call.
        projector: from the width of the tower's tokens to that of the model's words.
        tokenizer: the model's, of ``transformers``.
        prompt: with `IMAGE` and `QUESTION` in it once each, in this order.
        reads_class: whether the protected tokens are read too.

    Raises:
        AtmError: a prompt of another form.
    """

    def __init__(self, model: Any, projector: nn.Module, tokenizer: Any, prompt: str, reads_class: bool) -> None:
        super().__init__()
        if prompt.count(IMAGE) != 1 or prompt.count(QUESTION) != 1 or prompt.index(IMAGE) > prompt.index(QUESTION):
            raise AtmError(f"prompt {prompt!r} must have {IMAGE} and then {QUESTION}, once each")
        self.model, self.projector, self.tokenizer = model, projector, tokenizer
        self.prompt, self.reads_class = prompt, reads_class
        self.before, self.after = prompt.split(IMAGE)
        self.gap = "" if prompt[-1:].isspace() else " "

    @property
    def words(self) -> nn.Module:
        """The embedding of the model's words."""
        found: nn.Module = self.model.get_input_embeddings()
        return found

    def numbers(self, text: str, begins: bool = False) -> Tensor:
        """``[n]`` int64 of a text, with what begins every text where asked."""
        found = self.tokenizer(text, add_special_tokens=begins).input_ids
        return torch.tensor(found, dtype=torch.long, device=self.device)

    @property
    def device(self) -> torch.device:
        """Where the words are."""
        return next(self.words.parameters()).device

    def prompts(self, tokens: TokenBatch, questions: Sequence[str]) -> list[Tensor]:
        """``[n, h]`` for each picture: embedded prompt with its tokens and its question; differentiable."""
        values, lengths = tokens.values, tokens.lengths
        if not self.reads_class and tokens.prefix:
            values = values[(tokens.rank >= tokens.prefix).to(values.device)]
            lengths = lengths - tokens.prefix
        words = self.words
        before = words(self.numbers(self.before, begins=True))
        projected = self.projector(values).to(before.dtype).split(lengths.tolist())
        return [
            torch.cat([before, part, words(self.numbers(self.after.replace(QUESTION, question)))])
            for part, question in zip(projected, questions, strict=True)
        ]

    def ends(self, answer: str) -> Tensor:
        """``[n]`` int64: the words of an answer, and the end."""
        end = torch.tensor([self.tokenizer.eos_token_id], device=self.device)
        return torch.cat([self.numbers(self.gap + answer), end])

    @torch.no_grad()
    def score(self, tokens: TokenBatch, questions: Sequence[str], answers: Sequence[str]) -> Scored:
        """How well each of the same answers fits each picture's question.

        Args:
            tokens: of ``B`` pictures, after the tower's last layer.
            questions: one for each.
            answers: ``A`` of them.
        """
        ends = [self.ends(answer) for answer in answers]
        longest = max(map(len, ends))
        numbers = torch.stack([pad(each, (0, longest - len(each))) for each in ends])
        there = torch.arange(longest) < torch.tensor([len(each) for each in ends])[:, None]
        rows = [self._score(prompt, numbers, there.to(self.device)) for prompt in self.prompts(tokens, questions)]
        return Scored(*(torch.stack(each).cpu() for each in zip(*rows, strict=True)))

    def _score(self, prompt: Tensor, numbers: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """``[A]`` losses, and whether they are said, of answers ``[A, n]`` to one prompt ``[m, h]``."""
        first, kept = self._read(prompt[None])
        losses, exact = [], []
        order = there.sum(1).argsort(stable=True)  # so that short answers wait for no long ones
        for rows in order.split(AT_ONCE):
            longest = int(there[rows].sum(1).max())
            part, known = numbers[rows, :longest], there[rows, :longest]
            logits = first[:, -1:].expand(len(part), -1, -1)
            if longest > 1:
                memory = copy.deepcopy(kept)
                memory.batch_repeat_interleave(len(part))
                more, _ = self._read(self.words(part[:, :-1]), memory)
                logits = torch.cat([logits, more], 1)
            each = cross_entropy(logits.float().transpose(1, 2), part, reduction="none")
            losses.append(each.masked_fill(~known, 0.0).sum(1))
            exact.append(((logits.argmax(-1) == part) | ~known).all(1))
        back = order.argsort()
        return torch.cat(losses)[back], torch.cat(exact)[back]

    def _read(self, words: Tensor, memory: Any = None) -> tuple[Tensor, Any]:
        """Logits ``[B, n, V]`` behind embedded words ``[B, n, h]``, and what is remembered with them.

        Of a first call, which remembers nothing yet, those behind the last word alone.
        """
        from transformers import DynamicCache

        kept = DynamicCache() if memory is None else memory
        names = inspect.signature(self.model.forward).parameters
        options = {"cache" if "cache" in names else "past_key_values": kept}  # as newer and older versions call it
        logits = self.model(
            inputs_embeds=words, use_cache=True, logits_to_keep=1 if memory is None else 0, **options
        ).logits
        return logits, kept

    def loss(self, tokens: TokenBatch, questions: Sequence[str], answers: Sequence[str]) -> Tensor:
        """Mean cross-entropy of the words of one answer for each picture, differentiable in the projector."""
        ends = [self.ends(answer) for answer in answers]
        said = [self.words(each[:-1]) for each in ends]
        rows = [torch.cat(pair) for pair in zip(self.prompts(tokens, questions), said, strict=True)]
        lengths, longest = torch.tensor([len(row) for row in rows]), max(map(len, ends))
        most = int(lengths.max())
        packed = torch.stack([pad(row, (0, 0, most - len(row), 0)) for row in rows])  # so that all end together
        there = (torch.arange(most) >= (most - lengths)[:, None]).long().to(self.device)
        at = (there.cumsum(1) - 1).clamp_min(0)
        logits = self.model(
            inputs_embeds=packed, attention_mask=there, position_ids=at, use_cache=False, logits_to_keep=longest
        ).logits
        truth = torch.stack([pad(each, (longest - len(each), 0), value=-100) for each in ends])
        return cross_entropy(logits.float().transpose(1, 2), truth)

    @torch.no_grad()
    def say(self, tokens: TokenBatch, questions: Sequence[str], longest: int) -> list[str]:
        """What it says to each picture's question, of at most so many words, always the likeliest one."""
        found = []
        for prompt in self.prompts(tokens, questions):
            logits, memory = self._read(prompt[None])
            said = list[int]()
            while len(said) < longest:
                word = logits[0, -1].argmax()
                if int(word) == self.tokenizer.eos_token_id:
                    break
                said.append(int(word))
                logits, memory = self._read(self.words(word[None, None]), memory)
            found.append(str(self.tokenizer.decode(said, skip_special_tokens=True)).strip())
        return found


def two_layers(width: int, words: int) -> nn.Sequential:
    """LLaVA's projector, before which every token is brought to mean 0 and deviation 1."""
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, words), nn.GELU(), nn.Linear(words, words))
