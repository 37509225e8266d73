"""What the device computes of many images, kept once: every draw of the channel, every repeat and later run reads it.

The encoder is deterministic and takes nearly all of a transmission's time, so what it gives is kept before defence,
codec and channel. Of long runs it is kept on disk (`atm.cache`), under what it depends on.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from atm import cache
from atm.encoder import Encoded, Encoder
from atm.errors import StorageError
from atm.policy import MergePolicy
from atm.rows import Filed, Rows, few, kept, written
from atm.tokens import TokenBatch

FORMAT = 1  # of the entries, and of what the encoder computes: another one for any change of either
LONG = 1e13  # floating-point operations, a minute or more of some cores, from which on disk is worth its room
BATCH = 128  # images that run at a time
FEW, MARGIN = 4, 1.2  # images that tell how much all of them take, and how much more that may be
VALUES, FRAME = "values", "frame.safetensors"
Pair = tuple[Encoded, Rows]


class Encodings:
    """What one policy makes of some images, computed when it is first asked for.

    Args:
        encoder: the victim.
        policy: what merges.
        images: ``[N, C, H, W]`` by rows.
        identity: digests of the victim and of the images, for the cache on disk; None for things without digests.
    """

    def __init__(
        self, encoder: Encoder, policy: MergePolicy, images: Rows, identity: Mapping[str, str] | None = None
    ) -> None:
        self.encoder, self.policy, self.images = encoder, policy.for_depth(encoder.depth), images
        self.place = None
        if identity is not None:
            rules = {**self.policy.as_dict(), "name": ""}
            made_with = [FORMAT, torch.__version__, timm.__version__, encoder.device.type]
            depends = [made_with, len(images), rules, _described(encoder), dict(identity)]
            key = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()
            self.place = cache.place(cache.ENCODINGS, key)

    def __len__(self) -> int:
        return len(self.images)

    def split(self, size: int) -> Iterator[Encoded]:
        """That of all images, so many at a time and the rest at the end."""
        return (self.select(rows) for rows in torch.arange(len(self)).split(size))

    def prepare(self) -> None:
        """Compute them now, or find them."""
        _ = self._kept

    @property
    def lengths(self) -> Tensor:
        """``[N]`` int64, how many tokens are left of each."""
        return self._kept[0].tokens.lengths

    def select(self, images: Tensor) -> Encoded:
        """That of some images, by their numbers ``[n]``."""
        frame, values = self._kept
        part = frame.select(images)
        return replace(part, tokens=part.tokens.with_values(values[part.tokens.values]))

    @cached_property
    def _kept(self) -> Pair:
        """That of all images: with ``[T]`` numbers of rows in place of the tokens' values, and what these stand for."""
        if self.place is None:
            return self._computed()
        found = self._read(self.place)
        if found is None and self._worth_a_file():
            self._write(self.place)
            found = self._read(self.place)
        return self._computed() if found is None else found

    def _worth_a_file(self) -> bool:
        """Whether they take long to compute and the cache has room for them, as a few of them tell."""
        part = self._encode(self.images[: min(len(self), FEW)])
        size = part.tokens.values.numel() * part.tokens.values.element_size() / len(part)
        return float(part.flops.mean()) * len(self) >= LONG and MARGIN * size * len(self) <= cache.limit()

    @torch.no_grad()
    def _encode(self, images: Tensor) -> Encoded:
        return self.encoder(images.to(self.encoder.device), self.policy)

    def _computed(self) -> Pair:
        frames: list[Encoded] = []
        values = kept(self._values(frames))
        return Encoded.cat(frames), values

    def _values(self, frames: list[Encoded]) -> Iterator[Tensor]:
        """The tokens' values by batches; the rest of the batches goes into ``frames``."""
        begin = 0
        for images in self.images.split(min(BATCH, few(self.images.shape[1:].numel(), BATCH))):
            part = self._encode(images)
            rows = torch.arange(begin, begin + len(part.tokens.values), device=part.tokens.values.device)
            frames.append(replace(part, tokens=part.tokens.with_values(rows)))
            begin += len(rows)
            yield part.tokens.values

    def _write(self, place: Path) -> None:
        """Put an entry there, unless it has no room or nothing can be written."""
        try:
            draft = cache.draft(place)
        except OSError:
            return
        try:
            frames: list[Encoded] = []
            values = written(self._values(frames), draft / VALUES)
            _save(Encoded.cat(frames), values, draft / FRAME)
            cache.complete(draft, place)
        except (StorageError, OSError, SafetensorError):
            pass
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _read(self, place: Path) -> Pair | None:
        """The entry there, or None where there is none that is whole."""
        try:
            return _load(place, self.encoder.device) if place.exists() else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError):  # damaged: made anew
            shutil.rmtree(place, ignore_errors=True)
            return None


def _described(encoder: Encoder) -> list[Any]:
    """What an encoder computes with beside its weights: modules, their settings, tensors that no weights file has."""
    plain = int | float | str | bool | tuple | None
    parts = [
        (name, type(part).__name__, sorted((k, repr(v)) for k, v in vars(part).items()
                                           if k != "training" and isinstance(v, plain)))
        for name, part in encoder.named_modules()
    ]  # fmt: skip
    tensors = hashlib.sha256()
    for name, tensor in encoder.named_buffers():
        tensors.update(name.encode() + tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return [str(encoder.vit), parts, tensors.hexdigest()]


def _save(frame: Encoded, values: Filed, path: Path) -> None:
    tokens = frame.tokens
    parts = {"lengths": tokens.lengths, "sizes": tokens.sizes, "source": tokens.source, "places": tokens.places}
    parts |= {"layer_tokens": frame.layer_tokens, "flops": frame.flops, "values": torch.empty(0, dtype=values.dtype)}
    about = {"prefix": tokens.prefix, "shape": list(values.shape)}
    tensors = {name: part.cpu().contiguous() for name, part in parts.items() if part is not None}
    save_file(tensors, path, {"about": json.dumps(about)})


def _load(place: Path, device: torch.device) -> Pair:
    with safe_open(place / FRAME, "pt") as file:
        tensors = dict(zip(file.keys(), map(file.get_tensor, file.keys()), strict=True))
        about: dict[str, Any] = json.loads(file.metadata()["about"])
    shape, dtype = torch.Size(about["shape"]), tensors.pop("values").dtype
    if (place / VALUES).stat().st_size != shape.numel() * dtype.itemsize:
        raise ValueError(f"{place / VALUES} is cut off")
    if int(tensors["lengths"].sum()) != shape[0]:
        raise ValueError(f"{place / FRAME} is of other values")
    on = {name: tensors[name].to(device) if name in tensors else None for name in ("sizes", "source", "places")}
    rows = torch.arange(shape[0], device=device)
    tokens = TokenBatch(rows, tensors["lengths"], on["sizes"], on["source"], int(about["prefix"]), on["places"])
    values = Filed(os.open(place / VALUES, os.O_RDONLY), shape, dtype, device)
    return Encoded(tokens, tensors["layer_tokens"], tensors["flops"]), values
