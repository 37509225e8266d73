"""Training of a projector between a frozen vision tower and a frozen language model, on pictures with questions.

The tower's tokens are computed once. Every step draws some pictures and one question about each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from atm.data.question_files import Question
from atm.data.questions import QuestionSet
from atm.encoder import Encoder
from atm.encodings import Encodings
from atm.language import Language
from atm.policy import MergePolicy
from atm.seeds import seed_of

WARM = 0.05  # of the steps, in which the learning rate rises
LAST = 0.05  # of the learning rate is left at the end
CLIP = 1.0  # the longest gradient


@dataclass(frozen=True)
class Recipe:
    """How a projector is trained.

    Attributes:
        steps: of AdamW.
        batch: questions per step, each about another picture.
        rate: the highest learning rate.
        decay: of the weights.
    """

    steps: int = 300
    batch: int = 8
    rate: float = 1e-3
    decay: float = 0.01


class ProjectorTraining:
    """A training that can be interrupted after any step.

    Args:
        tower: whose tokens are read, unmerged.
        language: whose projector is trained.
        train: pictures with questions.
        recipe: how.
        seed: of the order of pictures and questions.
        identity: digests of tower and pictures, for the cache.
    """

    def __init__(
        self,
        tower: Encoder,
        language: Language,
        train: QuestionSet,
        recipe: Recipe,
        seed: int,
        identity: Mapping[str, str],
    ) -> None:
        self.language, self.train, self.recipe, self.seed, self.step = language, train, recipe, seed, 0
        self.encoded = Encodings(tower, MergePolicy.uniform(1.0, tower.depth), train.rows, identity)
        self.asked = train.asked
        language.requires_grad_(False)
        language.projector.requires_grad_(True).train()
        self.parameters = list(language.projector.parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=recipe.rate, weight_decay=recipe.decay)

    def steps(self) -> Iterator[float]:
        """Train to the end, a step at a time: the loss of each."""
        while self.step < self.recipe.steps:
            rows, asked = self._drawn()
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate()
            tokens = self.encoded.select(rows).tokens.to(self.language.device)
            loss = self.language.loss(tokens, [each.text for each in asked], [each.answer for each in asked])
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.parameters, CLIP)
            self.optimizer.step()
            self.step += 1
            yield float(loss.detach())

    def _drawn(self) -> tuple[Tensor, list[Question]]:
        """Pictures of the next step, by their numbers, and a question about each; all come before one comes again."""
        rows, asked = list[int](), list[Question]()
        for number in range(self.step * self.recipe.batch, (self.step + 1) * self.recipe.batch):
            epoch, place = divmod(number, len(self.train))
            generator = torch.Generator().manual_seed(seed_of("projector", self.seed, epoch))
            rows.append(int(torch.randperm(len(self.train), generator=generator)[place]))
            about = self.asked[rows[-1]]
            asked.append(about[seed_of("question", self.seed, number) % len(about)])
        return torch.tensor(rows), asked

    def rate(self) -> float:
        """The learning rate of the next step: it rises for `WARM` of the steps, then falls as a cosine to `LAST`."""
        part = (self.step + 1) / self.recipe.steps
        if part < WARM:
            return self.recipe.rate * part / WARM
        fallen = (1 + math.cos(math.pi * (part - WARM) / (1 - WARM))) / 2
        return self.recipe.rate * (LAST + (1 - LAST) * fallen)

    def state(self) -> dict[str, Tensor]:
        """All that going on takes, as tensors."""
        moments = self.optimizer.state_dict()["state"]
        return {
            "step": torch.tensor(self.step),
            **{f"projector.{name}": tensor for name, tensor in self.language.projector.state_dict().items()},
            **{f"moment.{at}.{name}": tensor for at, each in moments.items() for name, tensor in each.items()},
        }

    def take_up(self, state: Mapping[str, Tensor]) -> None:
        """Go on where another training with the same arguments was."""
        self.step = int(state["step"])
        mine = {name.removeprefix("projector."): t for name, t in state.items() if name.startswith("projector.")}
        self.language.projector.load_state_dict(mine)
        moments: dict[int, dict[str, Any]] = {}
        for name, tensor in state.items():
            if name.startswith("moment."):
                _, at, part = name.split(".")
                moments.setdefault(int(at), {})[part] = tensor
        known = self.optimizer.state_dict()
        self.optimizer.load_state_dict({"state": moments, "param_groups": known["param_groups"]})
