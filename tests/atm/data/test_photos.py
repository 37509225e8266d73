"""The photographs: what a crop may depend on, proven by changing what it may not depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.resources import files

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from atm.data import photos

STILL = photos.Jitter(brightness=0, contrast=0, saturation=0, hue=0, grey=0, blur=0)
NAMES = list(photos.PHOTOGRAPHS)


def masks(split: photos.Split, per_block: int) -> dict[str, np.ndarray]:
    """How many crops of a split cover each pixel of each photograph."""
    covered = {name: np.zeros(photos.photograph(name).shape[1:], int) for name in NAMES}
    for crop in photos.crops(split, per_block):
        covered[NAMES[crop.label]][crop.top : crop.top + crop.side, crop.left : crop.left + crop.side] += 1
    return covered


def block_mask(name: str, split: photos.Split) -> Tensor:
    mask = torch.zeros(photos.photograph(name).shape[1:], dtype=torch.bool)
    for _, top, left in photos.blocks(name, split):
        mask[top : top + photos.BLOCK, left : left + photos.BLOCK] = True
    return mask


def test_no_pixel_of_a_photograph_is_in_both_splits() -> None:
    train, test = masks("train", 40), masks("test", 40)
    for name in NAMES:
        assert train[name].any() and test[name].any(), name
        assert not (train[name].astype(bool) & test[name].astype(bool)).any(), name


def test_default_test_crops_never_overlap() -> None:
    assert max(mask.max() for mask in masks("test", 1).values()) == 1


@pytest.mark.parametrize(("split", "other"), [("train", "test"), ("test", "train")])
def test_crops_do_not_change_when_the_other_split_s_pixels_do(
    split: photos.Split, other: photos.Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    original: Callable[[str], Tensor] = photos.photograph
    before = photos.build(split, 1)[0]
    # Inverting keeps the deviation of a block, so the same blocks are in use.
    inverted = {name: torch.where(block_mask(name, other), 255 - original(name), original(name)) for name in NAMES}
    monkeypatch.setattr(photos, "photograph", inverted.__getitem__)
    assert torch.equal(photos.build(split, 1)[0], before)
    # The control: the same intervention on their own blocks changes every crop.
    own = {name: torch.where(block_mask(name, split), 255 - original(name), original(name)) for name in NAMES}
    monkeypatch.setattr(photos, "photograph", own.__getitem__)
    assert (photos.build(split, 1)[0] != before).flatten(1).any(1).all()


def test_without_jitter_a_crop_is_its_square_up_to_a_symmetry() -> None:
    pixels, labels = photos.build("test", 1, STILL)
    crops = photos.crops("test", 1)
    assert labels.tolist() == [crop.label for crop in crops]
    exact = [i for i, crop in enumerate(crops) if crop.side == photos.SIDE]
    assert exact
    for i in exact:
        c = crops[i]
        square = photos.photograph(NAMES[c.label])[:, c.top : c.top + c.side, c.left : c.left + c.side]
        turned = [torch.rot90(s, k, (1, 2)) for s in (square, square.flip(-1)) for k in range(4)]
        assert min(int((pixels[i].int() - t.int()).abs().max()) for t in turned) <= 1


def test_photographs_are_those_of_the_wheel_and_shrink_square_by_square() -> None:
    """A shrunk pixel is the mean of one square of its own, so no pixel of the file reaches two blocks."""
    for name, file in photos.PHOTOGRAPHS.items():
        with Image.open(str(files("skimage.data") / file)) as image:
            original = np.asarray(image.convert("RGB")).astype(float)
        seen = photos.photograph(name).permute(1, 2, 0).numpy()
        factor = photos.SHRINK.get(name, 1)
        rows, columns = original.shape[0] // factor, original.shape[1] // factor
        squares = original[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, 3)
        assert seen.dtype == np.uint8
        assert np.abs(seen[:rows, :columns] - squares.mean((1, 3))).max() <= 1, name  # Pillow averages in fixed point


def test_every_photograph_has_a_licence_and_there_are_enough_classes() -> None:
    assert photos.LICENCES.keys() == photos.PHOTOGRAPHS.keys()
    assert len(photos.PHOTOGRAPHS) >= 12


@given(st.integers(1, 12), st.sampled_from(["train", "test"]))
@settings(max_examples=8, deadline=None)
def test_more_crops_per_block_keep_the_first_ones(count: int, split: photos.Split) -> None:
    few, many = photos.crops(split, count), photos.crops(split, count + 3)
    kept = [crop for i, crop in enumerate(many) if i % (count + 3) < count]
    assert few == kept


def test_squares_lie_inside_their_blocks_and_have_the_promised_sides() -> None:
    for split in ("train", "test"):
        for c in photos.crops(split, 10):
            image = photos.photograph(NAMES[c.label])
            columns = image.shape[2] // photos.BLOCK
            top, left = c.block // columns * photos.BLOCK, c.block % columns * photos.BLOCK
            assert photos.SIDE <= c.side <= photos.BLOCK
            assert top <= c.top and c.top + c.side <= top + photos.BLOCK <= image.shape[1]
            assert left <= c.left and c.left + c.side <= left + photos.BLOCK <= image.shape[2]


def test_blocks_without_content_are_left_out() -> None:
    for name in NAMES:
        image = photos.photograph(name)
        for split in ("train", "test"):
            for _, top, left in photos.blocks(name, split):
                part = image[:, top : top + photos.BLOCK, left : left + photos.BLOCK].float().mean(0)
                assert float(part.std()) >= photos.LEAST_DEVIATION


def test_building_twice_gives_the_same_and_jitter_matters() -> None:
    pixels, labels = photos.build("test", 1)
    again, labels_again = photos.build("test", 1)
    assert torch.equal(pixels, again) and torch.equal(labels, labels_again)
    assert pixels.dtype == torch.uint8 and pixels.shape[1:] == (3, photos.SIDE, photos.SIDE)
    assert (pixels != photos.build("test", 1, STILL)[0]).flatten(1).any(1).float().mean() > 0.95


def test_the_training_pictures_of_the_shipped_victim_stay_the_same() -> None:
    pixels, labels = photos.build("train")
    digest = hashlib.sha256(pixels.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()
    assert digest == "7ad08a1e1bc4b6517840d24556dda90eb972e406e6fabba585df91b3965097a3"


@given(st.integers(1, 330), st.integers(1, 300), st.integers(1, 40), st.integers(0, 9))
@settings(max_examples=10, deadline=None)
def test_victims_and_adversary_share_no_block_and_have_none_of_the_training_split(
    count: int, learning: int, held: int, seed: int
) -> None:
    attacked = photos.victims(count, seed)
    learn, check = photos.adversarys(learning, held, seed + 1)
    assert (len(attacked), len(learn), len(check)) == (count, learning, held)
    places = [{(crop.label, crop.block) for crop in part} for part in (attacked, learn, check)]
    assert not (places[0] & places[1] or places[0] & places[2] or places[1] & places[2])
    test = {(c.label, c.block) for c in photos.crops("test", 1)}
    train = {(c.label, c.block) for c in photos.crops("train", 1)}
    assert set.union(*places) <= test and not set.union(*places) & train
    for part in (attacked, learn, check):
        assert len(set(part)) == len(part)
    assert len(places[0]) == min(count, 110)  # different blocks as long as there are any


def test_every_class_is_on_both_sides_and_four_thousand_auxiliary_pictures_are_there() -> None:
    attacked = photos.victims(110, 0)
    learn, check = photos.adversarys(3600, 400, 1)
    assert {crop.label for crop in attacked} == {crop.label for crop in learn} == set(range(len(NAMES)))
    assert len({*learn, *check}) == 4000
