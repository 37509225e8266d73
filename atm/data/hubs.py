"""Data sets that timm's ``create_dataset`` knows by name: torchvision, Hugging Face, WebDataset, TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from timm.data import create_dataset
from torch.utils.data import IterableDataset

from atm.errors import AtmError, unknown
from atm.text import printable

SCHEMES = ("torch", "hfds", "hfids", "wds", "tfds")


def open_set(name: str, split: str) -> Any:
    """The data set that timm has for a name such as ``torch/cifar10``, downloaded into ``$ATM_DATA`` if need be.

    Raises:
        AtmError: no such name, or it cannot be had.
    """
    scheme = name.partition("/")[0]
    if scheme not in SCHEMES or "/" not in name:
        if "/" in name or Path(name).suffix:
            raise AtmError(f"data '{printable(name)}': there is no such file or folder")
        raise unknown("data", printable(name), ["photos", "torch/cifar10", "hfds/NAME", "a folder", "a tar file"])
    root = Path(os.environ.get("ATM_DATA", "~/.cache/atm-privacy")).expanduser()
    try:
        root.mkdir(parents=True, exist_ok=True)
        kind = "validation" if split == "test" and scheme != "hfds" else split
        return create_dataset(name, root=str(root), split=kind, is_training=False, download=True)
    except Exception as error:  # hubs and mirrors fail in many ways; all mean that the data are not here
        reason = printable(" ".join(str(error).split()))[:200] or type(error).__name__
        raise AtmError(f"data '{printable(name)}' cannot be had: {reason}; give a folder or tar instead") from None


def items(dataset: Any, order: list[int], limit: int | None) -> Iterator[tuple[str, Any, int]]:
    """Name, picture (opened, or a file) and label; a stream is read once, in its own order."""
    if isinstance(dataset, IterableDataset):
        wanted = set(order[:limit])
        yield from ((f"picture {row}", *item[:2]) for row, item in enumerate(dataset) if row in wanted)
        return
    for row in order:  # straight from the reader, because timm's data set replaces what it cannot read
        image, label = dataset.reader[row] if hasattr(dataset, "reader") else dataset[row]
        yield f"picture {row}", image, int(label)


def classes(dataset: Any) -> tuple[str, ...]:
    """The names of the classes in order, or nothing where the data set does not tell."""
    reader = getattr(dataset, "reader", None)
    names = getattr(reader, "class_to_idx", None) or getattr(dataset, "class_to_idx", None)
    return tuple(printable(name) for name in sorted(names, key=names.get)) if names else ()
