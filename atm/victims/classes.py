"""Names of classes: which logit stands for which folder of pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from timm.data import ImageNetInfo, infer_imagenet_subset

from atm.errors import AtmError
from atm.foreign import read_text


def read_classes(path: str | Path, outputs: int) -> tuple[str, ...]:
    """Class names from a text file: one a line, in the order of the logits; synonyms stand behind commas.

    Raises:
        AtmError: the file cannot be read, or has another number of names than the victim has logits.
    """
    names = [line.strip() for line in read_text(path, f"classes {path}").splitlines()]
    names = [name for name in names if name]
    if len(names) != outputs:
        raise AtmError(f"classes {path} names {len(names)} classes, the victim has {outputs} logits; give one a line")
    return tuple(names)


def imagenet_classes(outputs: int) -> tuple[str, ...]:
    """ImageNet's names for so many logits, WordNet id and words by commas; empty where no ImageNet has so many."""
    subset = infer_imagenet_subset({"num_classes": outputs})
    if subset is None:
        return ()
    info = ImageNetInfo(subset)
    return tuple(f"{label}, {info.label_name_to_description(label)}" for label in info.label_names())


def find_logits(wanted: Sequence[str], classes: Sequence[str]) -> list[int] | None:
    """The logit of each wanted class, or None if one is not among the victim's, or is the name of several.

    Args:
        wanted: names of class folders.
        classes: the victim's, in the order of its logits; ``"n01440764, tench, Tinca tinca"`` answers to each of its
            names. Case, spaces, hyphens and underscores do not matter.
    """
    exact = {name: logit for logit, name in enumerate(classes)}
    if len(exact) == len(classes) and all(name in exact for name in wanted):
        return [exact[name] for name in wanted]
    owners: dict[str, int] = {}
    for logit, names in enumerate(classes):
        for name in {_plain(part) for part in (names, *names.split(","))}:
            owners[name] = logit if owners.get(name, logit) == logit else -1
    found = [owners.get(_plain(name), -1) for name in wanted]
    return None if -1 in found or max(Counter(found).values(), default=0) > 1 else found


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
