"""`load` and `splits`: pictures by name, and pictures for an attack."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from atm.data import duplicates, groups, hubs, photos
from atm.data.duplicates import Alike
from atm.data.folders import Found, find
from atm.data.formats import kind_of
from atm.data.pictures import Size, fit, grey, pair
from atm.data.reading import Wanted, read_files, read_stream
from atm.data.sets import ImageSet, Splits, sample
from atm.errors import AtmError, unknown
from atm.text import counted, printable

HELD_OUT = 0.1  # of the auxiliary images, for validation
MOST_PIXELS = 16_384  # a side
SPLITS = ("train", "test")
NO_GROUPS = "--group-by reads groups from paths: it needs a folder or tar, for the adversary's pictures too"


def load(
    name: str,
    split: str = "test",
    *,
    size: Size = None,
    channels: int = 3,
    limit: int | None = None,
    seed: int = 0,
    distinct: bool = False,
    seen: Sequence[str] = (),
    spectrogram: str = "",
    label_by: str | None = None,
    group_by: str | None = None,
    strange: Collection[str] = (),
) -> ImageSet:
    """Pictures by name.

    Args:
        name: ``photos``; the path of a folder or tar of class folders (`atm.data.folders` has the conventions); or a
            timm name such as ``torch/cifar10``, which is downloaded into ``$ATM_DATA`` (default
            ``~/.cache/atm-privacy``).
        split: ``train`` or ``test``; a folder or tar without splits gives all it has for either.
        size: a side, or height and width, to which pictures are resized and cropped; None keeps their own.
        channels: 3 for colour, 1 for grey.
        limit: a random subset of so many.
        seed: of that subset.
        distinct: leave out pictures with the pixels of an earlier one; the limit counts the others.
        seen: hashes (`ImageSet.hashes`) of pictures to leave out too, with ``distinct``.
        spectrogram: a recipe of `atm.signals.spectrogram` for a folder or tar of sounds; empty for pictures.
        label_by: a regular expression that finds the class in a file's path; None takes its folder.
        group_by: what pictures have in common, see `atm.data.groups`; `ImageSet.groups` then names the groups.
        strange: groups of which none is wanted.

    Raises:
        AtmError: an unknown name, nothing readable there, pictures of different sizes without ``size``, or groups that
            cannot be told or are all left out.
    """
    _check(name, size, channels, limit=limit)
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    path = _path(name)
    if path is None and (spectrogram or label_by is not None):
        raise AtmError(_needs_files(name, spectrogram))
    if path is None and group_by is not None:
        raise AtmError(NO_GROUPS)
    if name == "photos":
        pixels, labels = photos.build("train" if split == "train" else "test")
        found = ImageSet(name, pixels, labels, tuple(photos.PHOTOGRAPHS))
        found = found.distinct(seen) if distinct else found
        found = found if limit is None else found.subset(sample(len(found), limit, seed))
        return _sized(found, size, channels)
    wanted = Wanted(size, channels, limit, seed, distinct, tuple(seen), spectrogram, label_by)
    if path is not None:
        files = _find(path, split, wanted)
        if group_by is None:
            return read_files(printable(path.name or path), files, wanted)
        files = groups.without_groups(files, group_by, strange)
        names = groups.names_of(files, group_by)
        return read_files(printable(path.name or path), files, wanted).chosen_from(names)
    return read_stream(name, hubs.open_set(name, split), wanted)


def splits(
    name: str,
    *,
    victims: int,
    auxiliary: int,
    size: Size = None,
    channels: int = 3,
    auxiliary_name: str | None = None,
    group_by: str | None = None,
    seed: int = 0,
    spectrogram: str = "",
    label_by: str | None = None,
) -> Splits:
    """Victims, auxiliary and validation pictures, no two of the same content.

    Nor does the adversary have near-duplicates of the victims (`atm.data.duplicates`).

    Auxiliary pictures are of the kind that victims are: not those that the victim model was trained on, since a model's
    features of its training pictures are unlike those of others. ``photos`` sees to it (`atm.data.photos`), and so does
    data without splits, such as a tar of a test set, which are divided at random. Of a folder with splits the adversary
    gets ``train``: if the victim model was trained on that, name the test folder alone, or give ``auxiliary_name``.

    Args:
        name: see `load`.
        victims: pictures to attack.
        auxiliary: the adversary's own at most, a tenth of them for validation.
        size: see `load`.
        channels: see `load`.
        auxiliary_name: other data for the adversary's own.
        group_by: what pictures have in common that are on one side only, see `atm.data.groups`; None lets any be
            anywhere.
        seed: of the choice.
        spectrogram: see `load`.
        label_by: see `load`.

    Raises:
        AtmError: too few pictures of different content, or groups that cannot be told or divided.
    """
    _check(name, size, channels, victims=victims, auxiliary=auxiliary)
    for each in (name, auxiliary_name):
        if each is not None and (spectrogram or label_by is not None) and _path(each) is None:
            raise AtmError(_needs_files(each, spectrogram))
    if auxiliary_name is not None:
        _check(auxiliary_name, size, channels)
    held = max(round(HELD_OUT * auxiliary), 1)
    take = partial(load, size=size, channels=channels, distinct=True, spectrogram=spectrogram, label_by=label_by)
    wanted = Wanted(size, channels, None, seed, distinct=True, seen=(), spectrogram=spectrogram, label_by=label_by)
    own_name = auxiliary_name or (name if name == "photos" or _has_train(name, wanted) else None)
    if group_by is not None:
        return _by_groups(name, own_name, group_by, replace(wanted, limit=victims), replace(wanted, limit=auxiliary))
    alike = kind_of(spectrogram).alike
    if own_name is None:
        whole = take(name, limit=victims + auxiliary, seed=seed)
        if len(whole) < victims + 2:
            raise AtmError(
                f"{name} has {len(whole)} usable pictures of different content; "
                f"attacking {victims} needs at least {victims + 2}"
            )
        attacked, own = whole.subset(range(victims)), whole.subset(range(victims, len(whole)))
        return divided(attacked, own, whole.copies, alike)
    if name == "photos":
        chosen = photos.victims(victims, seed)
        attacked = replace(_photographs(chosen, size, channels).distinct(), notes=_overlap(chosen))
    else:
        attacked = take(name, limit=victims, seed=seed)
    if len(attacked) < victims:
        raise AtmError(
            f"{printable(name)} has {len(attacked)} test pictures of different content, "
            f"fewer than the {victims} to attack; ask for fewer"
        )
    if own_name == "photos":
        learn, check = photos.adversarys(max(auxiliary - held, 1), held, seed + 1)
        own = _photographs([*learn, *check], size, channels).distinct(attacked.hashes)
    else:
        own = take(own_name, "train", limit=auxiliary, seed=seed + 1, seen=attacked.hashes)
    return divided(attacked, own, attacked.copies + own.copies, alike)


def _by_groups(name: str, own_name: str | None, by: str, attack: Wanted, learn: Wanted) -> Splits:
    """Victims as ``attack`` wants them and the adversary's own as ``learn`` does, of other groups."""
    path, own_path = _path(name), _path(own_name or name)
    if path is None or own_path is None:
        raise AtmError(NO_GROUPS)
    theirs, note = _find(path, "test", attack), ""
    if own_name is None:
        assert attack.limit is not None
        theirs, hers = groups.divide(theirs, by, attack.limit, attack.seed)
    else:
        every = _find(own_path, "train", learn)
        hers = groups.without(every, by, theirs)
        shared = len(every.files) - len(hers.files)
        note = f"{shared} of the adversary's {len(every.files)} left out, which are of groups of the attacked ones"
    attacked = read_files(printable(path.name or path), theirs, attack).chosen_from(groups.names_of(theirs, by))
    if attack.limit is not None and len(attacked) < attack.limit:
        there = counted(len(attacked), "picture")
        raise AtmError(f"{printable(name)} has {there} of different content to attack; ask for fewer")
    learn = replace(learn, seed=learn.seed + 1, seen=attacked.hashes)
    own = read_files(printable(own_path.name or own_path), hers, learn)
    own = replace(own, notes=(*own.notes, note)) if note else own
    return divided(attacked, own, attacked.copies + own.copies, kind_of(attack.spectrogram).alike)


def _find(path: Path, split: str, wanted: Wanted) -> Found:
    return find(path, split, kind_of(wanted.spectrogram), wanted.label_by)


def _needs_files(name: str, spectrogram: str) -> str:
    if spectrogram:
        return f"the victim hears sounds, and data {name!r} is no folder or tar of them"
    return f"--label-by reads labels from paths: it needs a folder or tar, and data {name!r} is none"


def divided(attacked: ImageSet, own: ImageSet, removed: int, alike_by: Alike) -> Splits:
    """The attacked pictures beside the adversary's own without near-duplicates of them, a tenth for validation.

    Raises:
        AtmError: she has fewer than two.
    """
    own, alike = duplicates.apart(own, attacked, alike_by)
    if len(own) < 2:
        raise AtmError(f"{own.name} has no auxiliary pictures beside the attacked ones; give other --auxiliary-data")
    begin = len(own) - max(round(HELD_OUT * len(own)), 1)
    return Splits(attacked, own.subset(range(begin)), own.subset(range(begin, len(own))), removed, alike)


def _photographs(chosen: Sequence[photos.Crop], size: Size, channels: int) -> ImageSet:
    pixels, labels = photos.render(chosen)
    return _sized(ImageSet("photos", pixels, labels, tuple(photos.PHOTOGRAPHS)), size, channels)


def _overlap(chosen: Sequence[photos.Crop]) -> tuple[str, ...]:
    """What there is to say when several victims show one place."""
    places = len({(crop.label, crop.block) for crop in chosen})
    if places == len(chosen):
        return ()
    return (f"the {len(chosen)} attacked pictures show {places} blocks of photographs; those of one block overlap",)


def _sized(found: ImageSet, size: Size, channels: int) -> ImageSet:
    return replace(found, kept=grey(fit(found.pixels, size), channels).contiguous())


def _has_train(name: str, wanted: Wanted) -> bool:
    path = _path(name)
    return path is not None and _find(path, "test", wanted).splits >= {"train", "test"}


def _path(name: str) -> Path | None:
    """The folder or file of that name, if there is one."""
    try:
        path = Path(name).expanduser()
        return path if path.exists() else None
    except (OSError, ValueError, RuntimeError):  # too long, a null byte, no such user
        return None


def _check(name: str, size: Size, channels: int, **numbers: int | None) -> None:
    if not name.strip():
        raise AtmError("the data's name is empty; give photos, torch/cifar10, a folder or a tar file")
    for what, number in numbers.items():
        if number is not None and number < 1:
            raise AtmError(f"{what} is {number}; give 1 or more")
    if size is not None and not all(1 <= side <= MOST_PIXELS for side in pair(size)):
        raise AtmError(f"size is {size}; give 1 to {MOST_PIXELS} pixels")
    if channels not in (1, 3):
        raise AtmError(f"channels is {channels}; pictures have 3, or 1 when they are grey")
