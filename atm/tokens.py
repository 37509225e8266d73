"""Ragged tokens: every image of a batch has its own number of them, and nothing is padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

NOWHERE = -1  # in `TokenBatch.source`: this patch ended in no token that is left


@dataclass(frozen=True)
class TokenBatch:
    """The tokens of ``B`` images, packed one image after the other.

    Attributes:
        values: ``[T, d]`` float, the tokens of all images, ``T = lengths.sum()``.
        lengths: ``[B]`` int64 on the CPU, tokens per image, protected ones included.
        sizes: ``[T]`` float, how many patches each token stands for (a protected token counts as 1, padding as 0), or
            None where the holder of this batch does not know.
        source: ``[B, P]`` int64, the merge map: the token, counted within its image, in which each of the P patches
            ended, or `NOWHERE` where a defence dropped that token; or None where the holder does not know.
        prefix: how many protected tokens (class, distillation, registers) stand first in every image.
        places: ``[T]`` int64, where each token stood in the unmerged sequence of its image, protected ones included; a
            destination keeps its own place. Present only where the model's attention needs it (rotary positions,
            relative bias), and then the server needs it too. It tells a part of the merge map.
    """

    values: Tensor
    lengths: Tensor
    sizes: Tensor | None = None
    source: Tensor | None = None
    prefix: int = 0
    places: Tensor | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def counts(self) -> list[int]:
        """Tokens per image as Python integers; of a single image a graph that is traced knows it by its shape."""
        return [self.values.shape[0]] if len(self) == 1 else self.lengths.tolist()

    @cached_property
    def offsets(self) -> Tensor:
        """``[B]`` int64: where each image's tokens begin in ``values``."""
        return torch.cumsum(self.lengths, 0) - self.lengths

    @cached_property
    def uniform(self) -> bool:
        """Whether all images have equally many tokens."""
        return len(self) <= 1 or len(set(self.counts)) == 1

    @cached_property
    def image_of_token(self) -> Tensor:
        """``[T]`` int64: the image that each token belongs to."""
        if len(self) == 1:
            return torch.zeros(self.values.shape[0], dtype=torch.long, device=self.values.device)
        return torch.repeat_interleave(torch.arange(len(self)), self.lengths).to(self.values.device)

    @cached_property
    def rank(self) -> Tensor:
        """``[T]`` int64 on the CPU: each token's number within its image, protected ones included."""
        return torch.arange(int(self.lengths.sum())) - torch.repeat_interleave(self.offsets, self.lengths)

    @classmethod
    def dense(cls, values: Tensor, prefix: int, places: bool = False) -> TokenBatch:
        """Unmerged tokens ``[B, n, d]`` of which the first ``prefix`` are protected, each patch its own token.

        Args:
            values: the tokens.
            prefix: protected tokens per image.
            places: whether to keep track of the tokens' places.
        """
        batch, count, width = values.shape
        device = values.device
        return cls(
            values=values.reshape(batch * count, width),
            lengths=torch.full((batch,), count),
            sizes=torch.ones(batch * count, device=device),
            source=torch.arange(prefix, count, device=device).expand(batch, -1),
            prefix=prefix,
            places=torch.arange(count, device=device).repeat(batch) if places else None,
        )

    @classmethod
    def cat(cls, batches: Sequence[TokenBatch]) -> TokenBatch:
        """One batch with the images of all ``batches``, in order; what one of them lacks, the result lacks."""
        if len(batches) == 1:
            return batches[0]
        return cls(
            values=torch.cat([b.values for b in batches]),
            lengths=torch.cat([b.lengths for b in batches]),
            sizes=_cat([b.sizes for b in batches]),
            source=_cat([b.source for b in batches]),
            prefix=batches[0].prefix,
            places=_cat([b.places for b in batches]),
        )

    def to(self, device: torch.device) -> TokenBatch:
        """The same tokens elsewhere; lengths stay on the CPU."""
        return replace(
            self,
            values=self.values.to(device),
            sizes=None if self.sizes is None else self.sizes.to(device),
            source=None if self.source is None else self.source.to(device),
            places=None if self.places is None else self.places.to(device),
        )

    def with_values(self, values: Tensor) -> TokenBatch:
        """The same tokens with other values ``[T, any]``."""
        return TokenBatch(values, self.lengths, self.sizes, self.source, self.prefix, self.places)

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
            places=None if self.places is None else self.places[rows],
        )

    @cached_property
    def padding(self) -> Tensor | None:
        """``[T]`` bool: which tokens stand for nothing (size 0); None where the holder of this batch knows of none."""
        if self.sizes is None:
            return None
        padding = self.sizes == 0
        return padding if bool(padding.any()) else None

    def shuffled(self, generator: torch.Generator | None) -> tuple[TokenBatch, Tensor]:
        """The same tokens in random order within each image, protected ones first, and the rows ``[T]`` they came from.

        Merge map and places go with them.
        """
        rows = self.ordered_by(torch.rand(len(self.values), generator=generator, dtype=torch.float64))
        return self.rearranged(rows.to(self.values.device), self.lengths), rows

    def in_place(self) -> TokenBatch:
        """The same tokens in the order of their places. Needs places."""
        if self.places is None:
            raise ValueError("tokens can be put in place only with their places")
        rows = self.ordered_by(self.places.cpu().double())
        return self.rearranged(rows.to(self.values.device), self.lengths)

    def ordered_by(self, keys: Tensor) -> Tensor:
        """``[T]`` int64 on the CPU: rows, image by image, protected tokens first and the others by ascending key.

        Args:
            keys: ``[T]`` float on the CPU; those of protected tokens are not asked.
        """
        image = torch.repeat_interleave(torch.arange(len(self)), self.lengths)
        rows = torch.argsort(torch.where(self.rank < self.prefix, -torch.inf, keys), stable=True)
        return rows[torch.argsort(image[rows], stable=True)]

    def rearranged(self, rows: Tensor, lengths: Tensor) -> TokenBatch:
        """Other tokens of the same images: left out, in another order, or repeated.

        Args:
            rows: ``[T']`` int64, rows of ``values``, image by image, protected tokens first.
            lengths: ``[B]`` int64 on the CPU, how many of them each image has.

        Returns:
            The batch, with sizes, places and merge map of the tokens that are left; a patch whose token is left out
            ended `NOWHERE`, and one whose token is repeated ended in the first copy.
        """
        begin = torch.cumsum(lengths, 0) - lengths
        within = (torch.arange(len(rows)) - torch.repeat_interleave(begin, lengths)).to(rows.device)
        source = self.source
        if source is not None:
            moved = torch.full((len(self.values),), NOWHERE, device=rows.device)
            moved = moved.scatter_reduce(0, rows, within, "amin", include_self=False)
            old = source.clamp_min(0) + self.offsets.to(source.device)[:, None]
            source = torch.where(source == NOWHERE, NOWHERE, moved[old])
        return replace(
            self,
            values=self.values[rows],
            lengths=lengths,
            sizes=None if self.sizes is None else self.sizes[rows],
            source=source,
            places=None if self.places is None else self.places[rows],
        )

    def only(self, kept: Tensor) -> TokenBatch:
        """The tokens that a mask ``[T]`` of bool keeps, in their order; it should keep the protected ones."""
        lengths = torch.bincount(self.image_of_token[kept].cpu(), minlength=len(self))
        return self.rearranged(kept.nonzero().squeeze(1), lengths)

    def without_padding(self) -> tuple[TokenBatch, Tensor]:
        """The tokens that stand for something, and the rows ``[T']`` on the CPU that they came from."""
        if self.padding is None:
            return self, torch.arange(len(self.values))
        return self.only(~self.padding), (~self.padding).nonzero().squeeze(1).cpu()

    def without_patches(self, dropped: Tensor) -> TokenBatch:
        """The tokens but those in which only dropped patches ended. Needs the merge map.

        Args:
            dropped: ``[B, P]`` bool; an image of which all are dropped keeps its tokens.
        """
        if self.source is None:
            raise ValueError("the tokens of some patches are known only with the merge map (source)")
        stays = (~dropped | dropped.all(1, keepdim=True)) & (self.source != NOWHERE)
        rows = self.source.clamp_min(0) + self.offsets.to(self.source.device)[:, None]
        gone = torch.zeros(len(self.values), dtype=torch.bool, device=rows.device)
        gone[rows[dropped & (self.source != NOWHERE)]] = True
        gone[rows[stays]] = False
        return self.only(~gone)

    def per_patch(self) -> Tensor:
        """``[B, P, d]``: for each patch the token it ended in, zeros where it ended nowhere. Needs the merge map."""
        if self.source is None:
            raise ValueError("tokens can be put back on their patches only with the merge map (source)")
        rows = self.source.clamp_min(0) + self.offsets.to(self.source.device)[:, None]
        found = self.values[rows]
        nowhere = self.source == NOWHERE
        return found.masked_fill(nowhere[:, :, None], 0.0) if bool(nowhere.any()) else found

    def protected(self) -> Tensor:
        """``[B, prefix, d]``: the class and other protected tokens of each image."""
        rows = self.offsets[:, None] + torch.arange(self.prefix)
        return self.values[rows.to(self.values.device)]

    def padded(self) -> tuple[Tensor, Tensor]:
        """``[B, longest, d]`` with zeros behind each image's last token, and the mask ``[B, longest]`` of real ones."""
        longest = max(self.counts)
        mask = torch.arange(longest) < self.lengths[:, None]
        out = self.values.new_zeros(len(self) * longest, self.values.shape[-1]).index_copy(
            0, self.rows_in_padded, self.values
        )
        return out.view(len(self), longest, -1), mask.to(self.values.device)

    @cached_property
    def rows_in_padded(self) -> Tensor:
        """``[T]`` int64: the row of each token where every image is padded to the longest, ``[B * longest]`` rows."""
        image = torch.repeat_interleave(torch.arange(len(self)), self.lengths)
        return (image * max(self.counts) + self.rank).to(self.values.device)


def _cat(parts: Sequence[Tensor | None]) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return torch.cat(known) if len(known) == len(parts) else None
