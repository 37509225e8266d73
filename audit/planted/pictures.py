"""Pictures for planted systems: attacked ones, and the adversary's own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from atm import data
from atm.data import ImageSet, Splits
from atm.data.duplicates import apart
from audit.planted.encoders import SIDE, SIGNAL, WIDTH, label

Pictures = Callable[[int, int, int], Splits[Any]]
"""Numbers of attacked and auxiliary pictures, and a seed -> pictures."""

PERSONS, EACH = 60, 12  # people, and pictures of each of them
MOST = 500  # of the pictures are read, so few that they are not kept on disk
DEVIATIONS = 0.12 * torch.linspace(1.6, 0.2, WIDTH)  # of the independent components of a Gaussian patch


@cache
def photographs(victims: int, auxiliary: int, seed: int) -> Splits:
    """Crops of photographs, labelled by their brightest quarter."""
    found = data.splits("photos", victims=victims, auxiliary=auxiliary, size=SIDE, seed=seed)
    return _relabelled(found.victims, found.auxiliary, found.validation)


def textured(victims: int, auxiliary: int, seed: int) -> Splits:
    """Those of three times as many photographs that have the most texture, so that no even picture is like them."""
    found = photographs(3 * victims, auxiliary, seed)
    texture = found.victims.pixels.float().diff(dim=-1).abs().flatten(1).mean(1)
    return replace(found, victims=found.victims.subset(texture.argsort(descending=True)[:victims].tolist()))


def overlapping(victims: int, auxiliary: int, seed: int) -> Splits:
    """Half of the attacked pictures are among the adversary's own."""
    found = photographs(victims, auxiliary, seed)
    both = torch.cat([found.auxiliary.pixels, found.victims.pixels[: victims // 2]])
    return replace(found, auxiliary=replace(found.auxiliary, kept=both, labels=label(both.float())))


def marked(percent: int) -> Pictures:
    """So many of a hundred attacked pictures have a corner of the highest red, which no others have.

    They are those with the most texture, which look the least like an average picture. Of the adversary's own, one in
    ten is marked.
    """

    def mark(pictures: ImageSet, rows: Tensor) -> ImageSet:
        pixels = pictures.pixels.clone()
        pixels[:, 0, 0, 0] = pixels[:, 0, 0, 0].clamp(max=200)
        pixels[rows, 0, 0, 0] = 255
        return replace(pictures, kept=pixels)

    def make(victims: int, auxiliary: int, seed: int) -> Splits:
        found = photographs(victims, auxiliary, seed)
        texture = found.victims.pixels.float().diff(dim=-1).abs().flatten(1).mean(1)
        return _relabelled(
            mark(found.victims, texture.argsort(descending=True)[: victims * percent // 100]),
            *(mark(own, torch.arange(0, len(own), 10)) for own in (found.auxiliary, found.validation)),
        )

    return make


def twins(percent: int) -> Pictures:
    """Of so many of a hundred attacked pictures the adversary has one that differs by a level of brightness here and
    there.
    """

    def make(victims: int, auxiliary: int, seed: int) -> Splits:
        found = photographs(victims, auxiliary, seed)
        twinned = found.victims.pixels[: victims * percent // 100]
        other = torch.rand(twinned.shape, generator=torch.Generator().manual_seed(seed)) < 0.5
        pixels = torch.cat(
            [torch.where(twinned < 255, twinned + other, twinned - other.byte()), found.auxiliary.pixels]
        )
        own = replace(found.auxiliary, kept=pixels[: len(found.auxiliary)])
        return _relabelled(found.victims, own, found.validation)

    return make


def untwinned(victims: int, auxiliary: int, seed: int) -> Splits:
    """The same once her near-duplicates of attacked pictures are taken from her, as from every user's data."""
    found = twins(100)(victims, auxiliary, seed)
    own, alike = apart(found.auxiliary, found.victims)
    return replace(found, auxiliary=own, alike=alike)


def persons(group_by: str | None) -> Pictures:
    """Pictures of people, who look alike from one to the next in two thirds of what they show; a corner says who it is.

    Args:
        group_by: None lets a person be on both sides; ``folder`` keeps people apart, as it does for users' data.
    """

    def make(victims: int, auxiliary: int, seed: int) -> Splits:
        random = torch.Generator().manual_seed(seed)
        with TemporaryDirectory() as temporary:
            folder = Path(temporary, "persons")
            for number, look in enumerate(_smooth(PERSONS, random)):
                images = 0.65 * look + 0.35 * _smooth(EACH, random)
                images[:, 0, 0, 0] = number / 255
                own = folder / f"person-{number}"
                own.mkdir(parents=True)
                for picture, content in enumerate(SIGNAL.store(images)):
                    (own / f"{picture}.{SIGNAL.suffix}").write_bytes(content)
            most = min(auxiliary, MOST - victims)
            found = data.splits(str(folder), victims=victims, auxiliary=most, size=SIDE, group_by=group_by, seed=seed)
        return _relabelled(found.victims, found.auxiliary, found.validation)

    return make


def one_number(victims: int, auxiliary: int, seed: int) -> Splits:
    """A fixed pattern on grey whose contrast, from -1 to 1, is all that a picture shows."""
    pattern = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) - 0.5
    pattern[0, 0, 0] = 0.5

    def draw(count: int, random: torch.Generator) -> Tensor:
        contrast = 2 * torch.rand(count, 1, 1, 1, generator=random) - 1
        # A little noise, so that no two pictures are the same to the last bit.
        return 0.5 + 0.95 * pattern * contrast + 0.005 * torch.randn(count, 3, SIDE, SIDE, generator=random)

    return _drawn(draw, victims, auxiliary, seed)


def gaussian(victims: int, auxiliary: int, seed: int) -> Splits:
    """Independent Gaussian patches around grey, with components of the deviations `DEVIATIONS` along random axes."""
    axes = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(seed)))[0]

    def draw(count: int, random: torch.Generator) -> Tensor:
        return 0.5 + SIGNAL.from_units(torch.randn(count, 64, WIDTH, generator=random) * DEVIATIONS @ axes)

    return _drawn(draw, victims, auxiliary, seed)


def another_domain(victims: int, auxiliary: int, seed: int) -> Splits:
    """The attacked pictures are photographs, the adversary's own are noise."""
    noise = _drawn(lambda n, random: torch.rand(n, 3, SIDE, SIDE, generator=random), victims, auxiliary, seed)
    return replace(noise, victims=photographs(victims, auxiliary, seed).victims)


def _smooth(count: int, random: torch.Generator) -> Tensor:
    """``[count, 3, SIDE, SIDE]`` in [0, 1], random colours that change slowly."""
    coarse = torch.rand(count, 3, 7, 7, generator=random)
    return interpolate(coarse, size=SIDE, mode="bicubic").clamp(0, 1)


def _drawn(draw: Callable[[int, torch.Generator], Tensor], victims: int, auxiliary: int, seed: int) -> Splits:
    random = torch.Generator().manual_seed(seed)
    held = max(auxiliary // 10, 1)
    sets: list[ImageSet] = []
    for count in (victims, auxiliary - held, held):
        pixels = (draw(count, random).clamp(0, 1) * 255).round().to(torch.uint8)
        sets.append(ImageSet("planted", pixels, label(pixels.float()), ("0", "1", "2", "3")))
    return Splits(sets[0], sets[1], sets[2], removed=0)


def _relabelled(victims: ImageSet, auxiliary: ImageSet, validation: ImageSet) -> Splits:
    def labelled(pictures: ImageSet) -> ImageSet:
        return replace(pictures, labels=label(pictures.pixels.float()), classes=("0", "1", "2", "3"))

    return Splits(labelled(victims), labelled(auxiliary), labelled(validation), removed=0)
