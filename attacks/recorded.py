"""What came back of an adversary's own images: kept once, and read image by image where it is large."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from atm.rows import Rows, kept
from atm.threat import Observation


@dataclass(frozen=True)
class Recorded:
    """An observation of many images, its values and symbols kept apart.

    Attributes:
        frame: the observation, with ``[T]`` numbers of rows in place of the tokens' values and of the symbols.
        values: ``[T, d]``, what the frame's token values stand for.
        symbols: ``[T, k]``, what its symbols stand for.
    """

    frame: Observation
    values: Rows
    symbols: Rows

    @classmethod
    def of(cls, parts: Iterable[Observation]) -> Recorded:
        """Of batches that come one after the other."""
        frames, symbols = list[Observation](), list[Tensor]()

        def values() -> Iterator[Tensor]:
            begin = 0
            for part in parts:
                numbers = torch.arange(begin, begin + len(part.symbols), device=part.symbols.device)
                frames.append(replace(part, tokens=part.tokens.with_values(numbers), symbols=numbers))
                symbols.append(part.symbols)
                begin += len(numbers)
                yield part.tokens.values

        return cls(values=kept(values()), symbols=kept(symbols), frame=Observation.cat(frames))

    def __len__(self) -> int:
        return len(self.frame)

    def select(self, images: Tensor) -> Observation:
        """What was seen of some images, by their numbers ``[n]``."""
        part = self.frame.select(images)
        tokens = part.tokens.with_values(self.values[part.tokens.values])
        return replace(part, tokens=tokens, symbols=self.symbols[part.symbols])
