"""What every way of loading a victim gives, before it becomes one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from atm.encoder import Encoder
from atm.errors import AtmError
from atm.victims.victim import Task

Size = tuple[int, int]


@dataclass(frozen=True)
class Loaded:
    """A model with its weights, and what came with them.

    Attributes:
        model: timm's, or one built as timm's.
        mean: per channel, that its input is normalised with.
        std: per channel, likewise.
        description: architecture, source, and what was done to the weights.
        classes: names in the order of the logits; empty where they are not known.
        task: whether its outputs answer anything; None where they are features or an embedding.
        digest: SHA-256 of the file; empty where it is to be taken over the tensors.
        spectrogram: what its input is made of sound with (`atm.signals.spectrogram`); empty where it sees pictures.
        encoder: the model ready to run, where it takes in no pictures; None makes it one that does.
    """

    model: Any
    mean: tuple[float, ...]
    std: tuple[float, ...]
    description: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    task: Task | None = "classification"
    digest: str = ""
    spectrogram: str = ""
    encoder: Encoder | None = None


def parse_size(size: int | str | Size | None) -> Size | None:
    """Height and width from ``224``, ``"224"``, ``"224x160"`` or a pair of whole numbers.

    Raises:
        AtmError: it is none of these.
    """
    if size is None:
        return None
    parts = str(size).split("x") if isinstance(size, (int, str)) else [str(part) for part in size]
    if len(parts) not in (1, 2) or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise AtmError(f"image size {size!r} is none; write 224, or height and width as 224x160")
    return int(parts[0]), int(parts[-1])


def check_size(size: Size | None, patch: Size) -> None:
    """Raise `AtmError` if images of this size cannot be cut into whole patches."""
    if size is not None and (size[0] % patch[0] or size[1] % patch[1]):
        height, width = (round(side / step) * step or step for side, step in zip(size, patch, strict=True))
        raise AtmError(
            f"image size {size[0]}x{size[1]} cannot be cut into patches of {patch[0]}x{patch[1]}; "
            f"give for example {height}x{width}"
        )
