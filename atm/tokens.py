"""Ragged tokens: every image of a batch has its own number of them, and nothing is padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenBatch:
    """The tokens of ``B`` images, packed one image after the other.

    Attributes:
        values: ``[T, d]`` float, the tokens of all images, ``T = lengths.sum()``.
        lengths: ``[B]`` int64 on the CPU, tokens per image, protected ones included.
        sizes: ``[T]`` float, how many patches each token stands for (a protected token counts as 1), or None where the
            holder of this batch does not know.
        source: ``[B, P]`` int64, the merge map: the token, counted within its image, in which each of the P patches
            ended; or None where the holder does not know.
        prefix: how many protected tokens (class, distillation, registers) stand first in every image.
    """

    values: Tensor
    lengths: Tensor
    sizes: Tensor | None = None
    source: Tensor | None = None
    prefix: int = 0

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def counts(self) -> list[int]:
        """Tokens per image as Python integers."""
        return self.lengths.tolist()

    @cached_property
    def offsets(self) -> Tensor:
        """``[B]`` int64: where each image's tokens begin in ``values``."""
        return torch.cumsum(self.lengths, 0) - self.lengths

    @cached_property
    def uniform(self) -> bool:
        """Whether all images have equally many tokens."""
        return len(set(self.counts)) <= 1

    @cached_property
    def image_of_token(self) -> Tensor:
        """``[T]`` int64: the image that each token belongs to."""
        return torch.repeat_interleave(torch.arange(len(self)), self.lengths).to(self.values.device)

    @classmethod
    def dense(cls, values: Tensor, prefix: int) -> TokenBatch:
        """Unmerged tokens ``[B, n, d]`` of which the first ``prefix`` are protected, each patch its own token."""
        batch, count, width = values.shape
        device = values.device
        return cls(
            values=values.reshape(batch * count, width),
            lengths=torch.full((batch,), count),
            sizes=torch.ones(batch * count, device=device),
            source=torch.arange(prefix, count, device=device).expand(batch, -1),
            prefix=prefix,
        )

    @classmethod
    def cat(cls, batches: Sequence[TokenBatch]) -> TokenBatch:
        """One batch with the images of all ``batches``, in order; what one of them lacks, the result lacks."""
        sizes = [b.sizes for b in batches if b.sizes is not None]
        source = [b.source for b in batches if b.source is not None]
        return cls(
            values=torch.cat([b.values for b in batches]),
            lengths=torch.cat([b.lengths for b in batches]),
            sizes=torch.cat(sizes) if len(sizes) == len(batches) else None,
            source=torch.cat(source) if len(source) == len(batches) else None,
            prefix=batches[0].prefix,
        )

    def with_values(self, values: Tensor) -> TokenBatch:
        """The same tokens with other values ``[T, any]``."""
        return replace(self, values=values)

    def select(self, images: Sequence[int] | Tensor) -> TokenBatch:
        """The tokens of some images, in the order asked for."""
        wanted = torch.as_tensor(images, dtype=torch.long)
        lengths = self.lengths[wanted]
        within = torch.arange(int(lengths.sum())) - torch.repeat_interleave(torch.cumsum(lengths, 0) - lengths, lengths)
        rows = (torch.repeat_interleave(self.offsets[wanted], lengths) + within).to(self.values.device)
        return replace(
            self,
            values=self.values[rows],
            lengths=lengths,
            sizes=None if self.sizes is None else self.sizes[rows],
            source=None if self.source is None else self.source[wanted.to(self.source.device)],
        )

    def per_patch(self) -> Tensor:
        """``[B, P, d]``: for each patch the token it ended in. Needs the merge map."""
        if self.source is None:
            raise ValueError("tokens can be put back on their patches only with the merge map (source)")
        rows = self.source + self.offsets.to(self.source.device)[:, None]
        return self.values[rows]

    def protected(self) -> Tensor:
        """``[B, prefix, d]``: the class and other protected tokens of each image."""
        rows = self.offsets[:, None] + torch.arange(self.prefix)
        return self.values[rows.to(self.values.device)]

    def padded(self) -> tuple[Tensor, Tensor]:
        """``[B, longest, d]`` with zeros behind each image's last token, and the mask ``[B, longest]`` of real ones."""
        mask = torch.arange(max(self.counts))[None, :] < self.lengths[:, None]
        mask = mask.to(self.values.device)
        out = self.values.new_zeros(*mask.shape, self.values.shape[-1])
        out[mask] = self.values
        return out, mask
