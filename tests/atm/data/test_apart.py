"""What an adversary may not have: near-duplicates of the attacked pictures, and others of their groups."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from atm.data import groups, splits
from atm.data.duplicates import apart
from atm.data.folders import File, Found, find
from atm.data.sets import ImageSet
from atm.errors import AtmError


def smooth(count: int, seed: int, side: int = 48) -> torch.Tensor:
    coarse = torch.rand(count, 3, 7, 7, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, size=side, mode="bicubic").clamp(0, 1)


def a_set(images: torch.Tensor) -> ImageSet:
    return ImageSet("x", (images * 255).round().to(torch.uint8), torch.zeros(len(images), dtype=torch.long), ("a",))


def as_jpeg(images: torch.Tensor) -> torch.Tensor:
    out = []
    for pixels in (images * 255).byte().permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=30)
        out.append(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255)
    return torch.stack(out)


VERSIONS = {
    "jpeg": as_jpeg,
    "darker": lambda x: 0.6 * x,
    "less contrast": lambda x: 0.3 + 0.4 * x,
    "mirrored": lambda x: x.flip(3),
    "noisy": lambda x: (x + 0.1 * torch.randn(x.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1),
    "halved": lambda x: torch.nn.functional.interpolate(
        torch.nn.functional.avg_pool2d(x, 2), scale_factor=2, mode="bilinear"
    ),
    "grey": lambda x: x.mean(1, keepdim=True).expand(-1, 3, -1, -1),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_another_version_of_an_attacked_picture_is_not_hers(version):
    attacked, others = smooth(30, 0), smooth(40, 1)
    hers = torch.cat([others[:20], VERSIONS[version](attacked[10:22]), others[20:]])
    left, removed = apart(a_set(hers), a_set(attacked))
    assert removed == 12 and torch.equal(left.pixels, a_set(others).pixels)


def test_other_pictures_stay():
    attacked, others = smooth(100, 2), smooth(1000, 3)
    left, removed = apart(a_set(others), a_set(attacked))
    assert removed <= 20 and len(left) == 1000 - removed
    plain = torch.linspace(0, 1, 9)[:, None, None, None].expand(-1, 3, 48, 48)
    assert apart(a_set(plain), a_set(plain))[1] == 0, "plain pictures resemble nothing"


@pytest.mark.parametrize("side", [(1, 2), (3, 3), (7, 40)])
def test_pictures_of_a_few_pixels_are_never_called_the_same(side):
    noise = torch.rand(500, 3, *side, generator=torch.Generator().manual_seed(0))
    assert apart(a_set(noise[100:]), a_set(noise[:100]))[1] == 0


def test_strokes_on_an_even_ground_are_not_the_same_because_they_are_aligned():
    digits = load_digits().images / 16
    images = torch.tensor(digits, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1)
    assert apart(a_set(images[100:]), a_set(images[:100]))[1] <= 0.02 * len(images)


def test_splits_say_how_many_were_removed(tmp_path):
    images = (smooth(12, 0) * 255).byte().permute(0, 2, 3, 1).numpy()
    for part, files in (("train", range(4, 12)), ("test", range(4))):
        for number in files:
            place = tmp_path / part / ("a", "b")[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[number]).save(place / f"{number}.png")
    for number in range(3):
        Image.fromarray(images[number]).save(tmp_path / f"train/a/other{number}.jpg", quality=60)
    found = splits(str(tmp_path), victims=4, auxiliary=50)
    assert (found.alike, found.removed, len(found.hers)) == (3, 0, 8)


def grouped(tmp_path: Path, people: int = 8, each: int = 6, split: str = "") -> Path:
    for person in range(people):
        for number in range(each):
            place = tmp_path / split / ("cat", "dog")[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng([person, number, len(split)]).integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"p{person}_{number}.png")
    return tmp_path


def files(names: list[str]) -> Found:
    return Found(tuple(File(name, name, 0, 1, 0) for name in names), ("a",), (), frozenset())


@given(people=st.lists(st.integers(0, 6), min_size=2, max_size=40), victims=st.integers(1, 12), seed=st.integers(0, 5))
def test_no_group_is_on_both_sides_and_nothing_is_lost(people, victims, seed):
    found = files([f"a/p{person}_{number}.png" for number, person in enumerate(people)])
    try:
        attacked, hers = groups.divide(found, r"p(\d+)", victims, seed)
    except AtmError as error:
        assert "leaves no group" in str(error)
        return
    theirs, others = (set(groups.groups_of(part, r"p(\d+)")) for part in (attacked, hers))
    assert not theirs & others and others and len(theirs) >= groups.LEAST * len(theirs | others)
    assert sorted(attacked.files + hers.files, key=lambda f: f.name) == sorted(found.files, key=lambda f: f.name)
    assert len(attacked.files) >= victims


@pytest.mark.parametrize("by", [r"p(\d+)_", r"p\d+", r"\w+/(.*)_"])
@pytest.mark.parametrize("with_splits", [False, True])
def test_splits_keep_groups_apart(tmp_path, with_splits, by):
    root = grouped(tmp_path, 8, 6, "train" if with_splits else "")
    if with_splits:
        grouped(tmp_path, 3, 6, "test")  # persons 0 to 2, who are in train too
    found = splits(str(root), victims=10, auxiliary=40, group_by=by)
    assert len(found.victims) == 10
    everything = {p: f for p in root.rglob("*.png") if (f := np.asarray(Image.open(p)).transpose(2, 0, 1)) is not None}

    def people(*sets: ImageSet) -> set[str]:
        wanted = {image.numpy().tobytes() for each in sets for image in each.pixels}
        return {p.name[1] for p, pixels in everything.items() if pixels.tobytes() in wanted}

    theirs, hers = people(found.victims), people(found.auxiliary, found.validation)
    assert theirs and hers and not theirs & hers
    if with_splits:
        assert hers == set("34567") and len(found.hers) == 30
        assert "18 of the adversary's 48 left out" in found.auxiliary.notes[-1]


def test_folders_are_groups():
    found = files([f"{letter}/{number}.png" for letter in "abcdef" for number in range(5)])
    attacked, hers = groups.divide(found, "folder", 6, 0)
    assert not {file.folder for file in attacked.files} & {file.folder for file in hers.files}
    assert len(groups.without(found, "folder", attacked).files) == len(hers.files)


@pytest.mark.parametrize(
    ("name", "by", "said"),
    [
        ("folder", "(", "neither 'folder' nor a regular expression"),
        ("folder", "q", "names no group for 48 files, such as cat/p0_0.png"),
        ("folder", "p(z?)", "names no group"),
        ("folder", "p", "finds 1 group "),
        ("photos", "folder", "needs a folder or tar"),
    ],
)
def test_groups_that_cannot_be_are_refused_in_one_line(tmp_path, name, by, said):
    root = str(grouped(tmp_path)) if name == "folder" else name
    with pytest.raises(AtmError, match=said.replace("(", r"\(")) as refusal:
        splits(root, victims=4, auxiliary=30, group_by=by)
    assert "\n" not in str(refusal.value)


def test_all_her_groups_attacked(tmp_path):
    root = grouped(grouped(tmp_path, 3, 6, "train"), 3, 6, "test")
    with pytest.raises(AtmError, match="all her groups are attacked"):
        splits(str(root), victims=4, auxiliary=30, group_by=r"p(\d)")
    assert find(root, "test").files
