"""What commands that make files share: the file that may be written, and the victim that it is for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from atm.errors import AtmError
from audit.command_lines import in_words, without_folders

Replace = Annotated[bool, typer.Option("--force", help="Replace the file.")]


def refuse_to_replace(path: Path, force: bool, suffix: str = ".safetensors") -> None:
    """Raise `AtmError` unless a file of such a name may be written."""
    from atm.store import check_writable

    if path.suffix != suffix:
        raise AtmError(f"{path} must end in {suffix}")
    if path.exists() and not force:
        raise AtmError(f"{path} is there already; use --force to replace it")
    check_writable(path.parent)


def victim_of(
    name: str,
    weights: str | None,
    image_size: str | None,
    mean: list[float] | None,
    std: list[float] | None,
    device: str,
) -> tuple[Any, str]:
    """A victim on its device, and the options that name it, without the folders of this machine."""
    from atm.device import resolve
    from atm.victims import load_victim

    place = resolve(device)
    victim = load_victim(name, weights, image_size=image_size, mean=mean, std=std)
    victim.encoder.to(place)
    return victim, words_of(name, weights, image_size, mean, std)


def words_of(
    name: str,
    weights: str | None,
    image_size: str | None,
    mean: list[float] | None,
    std: list[float] | None,
    head: str | None = None,
) -> str:
    """The options that name a victim, without the folders of this machine."""
    weights, head = (None if file is None else without_folders(file) for file in (weights, head))
    given = {"victim": without_folders(name), "weights": weights, "image_size": image_size, "mean": mean, "std": std}
    return in_words({**given, "head": head})


def given_victim(
    victim: str,
    weights: str | None,
    image_size: str | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    label_by: str | None,
) -> dict[str, Sequence[object] | None]:
    """The same victim and classes for the next command (`audit.next_step`)."""
    one = {"victim": victim, "weights": weights, "image_size": image_size, "label_by": label_by}
    return {**{name: [value] for name, value in one.items()}, "mean": mean, "std": std}
