"""Pictures by name: ``photos``, a folder or tar of class folders, or what timm's ``create_dataset`` knows."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_dataset
from timm.data.readers.img_extensions import get_img_extensions
from torch import Tensor
from torch.utils.data import IterableDataset
from torchvision.transforms.v2 import functional as tv

from atm import photos
from atm.errors import AtmError, unknown
from atm.progress import track

SCHEMES = ("torch", "hfds", "hfids", "wds", "tfds")
HELD_OUT = 0.1  # of the auxiliary images, for validation
MODES = {1: "L", 3: "RGB"}  # Pillow's words for numbers of channels
# Pillow knows more, among them EPS, which it hands to Ghostscript whatever the file is called.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled pictures of one size.

    Attributes:
        name: of the data set.
        pixels: ``[N, C, H, W]`` uint8; three channels for colour, one for grey.
        labels: ``[N]`` int64.
        classes: their names.
        skipped: one ``path: reason`` for each file that could not be used.
    """

    name: str
    pixels: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def images(self) -> Tensor:
        """``[N, C, H, W]`` float in [0, 1]."""
        return self.pixels.float() / 255

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """SHA-256 of each picture's shape and pixels, in hex."""
        shape = str(tuple(self.pixels.shape[1:])).encode()
        return tuple(hashlib.sha256(shape + image.tobytes()).hexdigest() for image in self.pixels.contiguous().numpy())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all pictures and labels, in hex."""
        labels = np.ascontiguousarray(self.labels.numpy().astype("<i8"))
        return hashlib.sha256("".join(self.hashes).encode() + labels.tobytes()).hexdigest()

    def subset(self, rows: Sequence[int] | Tensor) -> ImageSet:
        """Some of the pictures, in the order asked for."""
        wanted = torch.as_tensor(rows, dtype=torch.long)
        return replace(self, pixels=self.pixels[wanted], labels=self.labels[wanted])


@dataclass(frozen=True)
class Splits:
    """Pictures for an attack, pairwise disjoint by content.

    Attributes:
        victims: the attacked ones.
        auxiliary: the adversary's own.
        validation: more of the adversary's own, to choose parameters and checkpoints by.
        removed: auxiliary and validation pictures that were dropped because the same pixels are elsewhere.
    """

    victims: ImageSet
    auxiliary: ImageSet
    validation: ImageSet
    removed: int


def load(
    name: str,
    split: str = "test",
    *,
    size: int | Sequence[int] | None = None,
    channels: int = 3,
    limit: int | None = None,
    seed: int = 0,
) -> ImageSet:
    """Pictures by name.

    Args:
        name: ``photos``; the path of a folder or tar of class folders; or a timm name such as ``torch/cifar10``, which
            is downloaded into ``$ATM_DATA`` (default ``~/.cache/atm-privacy``).
        split: ``train`` or ``test``; a folder without a folder of that name, and a tar, give all they have for either.
        size: side, or height and width, to which pictures are resized and cropped; None keeps their own.
        channels: 3 for colour, 1 for grey.
        limit: a random subset of so many.
        seed: of that subset.

    Raises:
        AtmError: an unknown name, nothing readable there, or pictures of different sizes without ``size``.
    """
    size = (size, size) if isinstance(size, int) else size
    for what, number in (("size", min(size) if size else None), ("limit", limit)):
        _at_least_one(what, number)
    if channels not in MODES:
        raise AtmError(f"pictures of {channels} channels are not known; victims take 3 (colour) or 1 (grey)")
    if name == "photos":
        if split not in ("train", "test"):
            raise unknown("split of photos", split, ("train", "test"))
        pixels, labels = photos.build("train" if split == "train" else "test")
        whole = ImageSet(name, pixels, labels, tuple(photos.PHOTOGRAPHS))
        whole = whole if limit is None else whole.subset(_sample(len(whole), limit, seed))
        pixels = whole.pixels if channels == 3 else tv.rgb_to_grayscale(whole.pixels)
        return replace(whole, pixels=_resize(pixels, size))
    return _read(name, _open(name, split), size, channels, limit, seed)


def splits(
    name: str,
    *,
    victims: int,
    auxiliary: int,
    size: int | Sequence[int] | None = None,
    channels: int = 3,
    auxiliary_name: str | None = None,
    seed: int = 0,
) -> Splits:
    """Victims, auxiliary and validation pictures that share no picture.

    ``photos`` takes victims from its test split and the adversary's from other parts of the same photographs; her
    validation pictures come from blocks of their own. Other data without ``auxiliary_name`` are divided at random.

    Args:
        name: see `load`.
        victims: pictures to attack.
        auxiliary: the adversary's own at most, a tenth of them for validation.
        size: see `load`.
        channels: see `load`.
        auxiliary_name: other data for the adversary's own.
        seed: of the choice.

    Raises:
        AtmError: too few pictures.
    """
    for what, number in (("victims", victims), ("auxiliary", auxiliary)):
        _at_least_one(what, number)
    if auxiliary_name is None and name != "photos":
        whole = load(name, size=size, channels=channels, limit=victims + auxiliary, seed=seed)
        if len(whole) < victims + 2:
            raise AtmError(f"{name} has {len(whole)} usable pictures; attacking {victims} needs at least {victims + 2}")
        attacked, own = whole.subset(range(victims)), whole.subset(range(victims, len(whole)))
    else:
        attacked = load(name, "test", size=size, channels=channels)
        if len(attacked) < victims:
            raise AtmError(
                f"{name} has {len(attacked)} test pictures, fewer than the {victims} to attack; ask for fewer"
            )
        attacked = attacked.subset(_sample(len(attacked), victims, seed))
        own = _adversarys(auxiliary_name or name, size, channels, auxiliary, seed + 1)
    return _separate(attacked, own)


def _adversarys(name: str, size: int | Sequence[int] | None, channels: int, limit: int, seed: int) -> ImageSet:
    if name != "photos":
        return load(name, "train", size=size, channels=channels, limit=limit, seed=seed)
    whole = load(name, "train", size=size, channels=channels)
    block = torch.arange(len(whole)) // photos.TRAIN_CROPS
    order = _sample(
        int(block[-1]) + 1, int(block[-1]) + 1, seed
    )  # whole blocks in random order, the last ones held out
    last = order[-max(round(HELD_OUT * len(order)), 1) :]
    is_last = torch.isin(block, last)
    chosen = _sample(len(whole), len(whole), seed)
    held = max(round(HELD_OUT * limit), 1)
    train, validation = chosen[~is_last[chosen]][: limit - held], chosen[is_last[chosen]][:held]
    return whole.subset(torch.cat([train, validation]))


def _separate(victims: ImageSet, own: ImageSet) -> Splits:
    """Cut the adversary's pictures in two, dropping every picture that has been seen before."""
    seen, kept = set(victims.hashes), []
    for row, content in enumerate(own.hashes):
        if content not in seen:
            seen.add(content)
            kept.append(row)
    if len(kept) < 2:
        raise AtmError(f"{own.name} has no auxiliary pictures beside the attacked ones; give other --auxiliary-data")
    held = max(round(HELD_OUT * len(kept)), 1)
    return Splits(victims, own.subset(kept[:-held]), own.subset(kept[-held:]), len(own) - len(kept))


def _open(name: str, split: str) -> Any:
    path = Path(name).expanduser()
    scheme = name.partition("/")[0]
    if path.exists():
        try:
            if path.is_file():
                _check_whole(path)
            return create_dataset("", root=str(path), split=split)
        except Exception as error:  # timm and tarfile raise many kinds
            raise AtmError(f"{path} holds no pictures in class folders ({_line(error)})") from None
    if scheme not in SCHEMES or "/" not in name:
        if "/" in name or Path(name).suffix:
            raise AtmError(f"data {name!r}: there is no such file or folder")
        raise unknown("data", name, ["photos", "torch/cifar10", "hfds/NAME", "a folder", "a tar file"])
    root = Path(os.environ.get("ATM_DATA", "~/.cache/atm-privacy")).expanduser()
    try:
        root.mkdir(parents=True, exist_ok=True)
        kind = "validation" if split == "test" and scheme != "hfds" else split
        return create_dataset(name, root=str(root), split=kind, is_training=False, download=True)
    except Exception as error:  # hubs and mirrors fail in many ways; all mean that the data are not here
        raise AtmError(f"data {name!r} cannot be had: {_line(error)}; give a folder or tar instead") from None


def _read(name: str, dataset: Any, size: Sequence[int] | None, channels: int, limit: int | None, seed: int) -> ImageSet:
    rows: Iterable[int] = (
        _sample(len(dataset), len(dataset), seed).tolist() if limit is not None else range(len(dataset))
    )
    pixels: list[Tensor] = []
    labels: list[int] = []
    skipped = list(_ignored(dataset))
    total = min(limit or len(dataset), len(dataset))
    for row, image, label in track(_items(dataset, rows, limit), "reading pictures", total=total):
        if limit is not None and len(pixels) == limit:
            break
        try:
            pixels.append(_pixels(image() if callable(image) else image, size, channels))
            labels.append(int(label))
        except Exception as error:  # a damaged file can make Pillow raise nearly anything
            skipped.append(f"{_filename(dataset, row)}: {_line(error)}")
    if not pixels:
        raise AtmError(f"{name} has no usable picture" + (f"; the first problem: {skipped[0]}" if skipped else ""))
    shapes = {tuple(p.shape) for p in pixels}
    if len(shapes) > 1:
        raise AtmError(f"{name} has pictures of different sizes; give one size for all (--size)")
    classes = _classes(dataset, labels)
    if classes in (("",), (".",)):
        raise AtmError(f"{name} has no class folders; put the pictures into one folder for each class")
    return ImageSet(Path(name).name if Path(name).exists() else name, torch.stack(pixels), torch.tensor(labels),
                    classes, tuple(sorted(skipped)))  # fmt: skip


def _items(dataset: Any, rows: Iterable[int], limit: int | None) -> Iterator[tuple[int, Any, Any]]:
    """Row, picture (or a function that opens it) and label; a stream is read once, in its own order."""
    if isinstance(dataset, IterableDataset):
        wanted = set(list(rows)[:limit])
        yield from ((row, *item[:2]) for row, item in enumerate(dataset) if row in wanted)
    elif hasattr(dataset, "reader"):  # straight from the reader, because timm's data set replaces what it cannot read
        for row in rows:
            file, label = dataset.reader[row]
            yield row, partial(Image.open, file, formats=FORMATS), label
    else:
        for row in rows:
            yield row, *dataset[row]


def _pixels(image: Image.Image, size: Sequence[int] | None, channels: int) -> Tensor:
    if image.mode.startswith(("I", "F")):
        raise ValueError("more than 8 bits a channel; convert it to 8 bits")  # Pillow would cut off all above 255
    values = np.array(image.convert(MODES[channels]))
    return _resize(torch.from_numpy(values).reshape(*values.shape[:2], channels).permute(2, 0, 1), size)


def _resize(pixels: Tensor, size: Sequence[int] | None) -> Tensor:
    """Pictures that cover height and width as closely as their shape permits, cropped to them."""
    if size is None or tuple(pixels.shape[-2:]) == tuple(size):
        return pixels
    height, width = pixels.shape[-2:]
    if size[0] * width >= size[1] * height:
        covering = [size[0], int(size[0] * width / height)]
    else:
        covering = [int(size[1] * height / width), size[1]]
    return tv.center_crop(tv.resize(pixels, covering, antialias=True), list(size))


def _classes(dataset: Any, labels: list[int]) -> tuple[str, ...]:
    reader = getattr(dataset, "reader", None)
    names = getattr(reader, "class_to_idx", None) or getattr(reader, "class_name_to_idx", None)
    names = names or getattr(dataset, "class_to_idx", None)
    if names:
        return tuple(sorted(names, key=names.get))
    return tuple(str(label) for label in range(max(labels) + 1))


def _filename(dataset: Any, row: int) -> str:
    try:
        return str(dataset.reader.filename(row, absolute=False))
    except (AttributeError, NotImplementedError):
        return f"picture {row}"


def _ignored(dataset: Any) -> Iterator[str]:
    """Files of a folder or tar that timm passes over because their names are no pictures'."""
    root = Path(str(getattr(getattr(dataset, "reader", None), "root", "") or os.devnull))
    names: list[str] = []
    if root.is_dir():
        names = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    elif root.suffix == ".tar":
        with tarfile.open(root) as tar:
            names = [member.name for member in tar if member.isfile()]
    for name in sorted(names):
        if not name.lower().endswith((*get_img_extensions(), ".tar")):
            yield f"{name}: not named like a picture"


def _check_whole(path: Path) -> None:
    """Refuse a tar that was cut off: `tarfile` takes it for a shorter one."""
    with tarfile.open(path, "r:") as tar, path.open("rb") as file:
        tar.getmembers()
        file.seek(tar.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("the archive is cut off")


def _at_least_one(what: str, number: int | None) -> None:
    if number is not None and number < 1:
        raise AtmError(f"{what} is {number}; give 1 or more")


def _sample(count: int, limit: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:limit]


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:200] or type(error).__name__
