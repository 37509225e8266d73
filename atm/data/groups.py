"""Groups of pictures, such as those of one person, speaker or scene, which are on one side only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace

import torch

from atm.data.folders import Found
from atm.data.names import FOLDER, named
from atm.errors import AtmError
from atm.text import counted, printable

LEAST = 0.25  # of the groups are attacked


def groups_of(found: Found, by: str) -> list[str]:
    """The group of each picture.

    Args:
        found: the pictures.
        by: ``folder`` for the folder that a picture lies in, or a regular expression that is looked for in its path
            below the split's folder; what its first group matches names the group, or without groups all that it does.

    Raises:
        AtmError: it is no regular expression, or does not match some pictures.
    """
    if by == FOLDER:
        return [file.folder for file in found.files]
    # A split's name would make the same person two groups.
    names = [file.name.partition("/")[2] if found.splits else file.name for file in found.files]
    groups = named(names, by, "--group-by")
    if missed := [name for name, group in zip(names, groups, strict=True) if not group]:
        raise AtmError(f"--group-by {by!r} names no group for {len(missed)} files, such as {printable(missed[0])}")
    return groups


def divide(found: Found, by: str, victims: int, seed: int) -> tuple[Found, Found]:
    """Pictures to attack and pictures for the adversary, no group on both sides.

    At least `LEAST` of the groups are attacked, and more of them where these hold fewer pictures than are attacked.

    Args:
        found: all pictures.
        by: see `groups_of`.
        victims: pictures that are attacked.
        seed: of the choice.

    Raises:
        AtmError: there is one group only, or the groups that are left for the adversary are none.
    """
    groups = groups_of(found, by)
    count = Counter(groups)
    names = sorted(count)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    attacked, pictures = set[str](), 0
    for number in order:
        if pictures >= victims and len(attacked) >= LEAST * len(names):
            break
        attacked.add(names[number])
        pictures += count[names[number]]
    if pictures < victims or len(attacked) == len(names):
        raise AtmError(
            f"--group-by {by!r} finds {counted(len(names), 'group')} in {len(found.files)} pictures; attacking "
            f"{victims} of them leaves no group to the adversary: attack fewer, or give --auxiliary-data"
        )
    sides = [name in attacked for name in groups]
    return _part(found, sides), _part(found, [not side for side in sides])


def without(found: Found, by: str, attacked: Found) -> Found:
    """The adversary's pictures without those of groups that are attacked.

    Raises:
        AtmError: nothing is left.
    """
    return without_groups(found, by, set(groups_of(attacked, by)))


def without_groups(found: Found, by: str, attacked: Collection[str]) -> Found:
    """The same, of groups by their names."""
    left = _part(found, [group not in attacked for group in groups_of(found, by)])
    if not left.files:
        raise AtmError(f"--group-by {by!r} leaves no picture to the adversary: all her groups are attacked")
    return left


def names_of(found: Found, by: str) -> tuple[str, ...]:
    """The groups that there are, in order."""
    return tuple(sorted(set(groups_of(found, by))))


def _part(found: Found, chosen: Sequence[bool]) -> Found:
    return replace(found, files=tuple(file for file, take in zip(found.files, chosen, strict=True) if take))
