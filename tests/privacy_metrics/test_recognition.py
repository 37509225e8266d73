"""Who is picked out of a gallery: what colours tell counts for nothing, and neither does one answer for all."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy_metrics import recognition
from privacy_metrics.recognition import (
    FEWEST,
    GALLERY,
    MARGIN,
    PIECES,
    Sighting,
    by_chance,
    colourless,
    disordered,
    galleries,
)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sighted(rebuilt: torch.Tensor, originals: torch.Tensor) -> Sighting:
    """Where texture is like nothing."""
    return recognition.sighted(rebuilt, originals, -originals)


def pictures(count: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, 12, 10, generator=torch.Generator().manual_seed(seed))


def test_a_pixel_becomes_the_share_that_is_darker():
    grey = (torch.rand(2, 1, 5, 4, generator=torch.Generator().manual_seed(0)) * 9).round() / 255
    for image, found in zip(grey, colourless(grey), strict=True):
        for pixel, value in zip(image.flatten().tolist(), found[1].flatten().tolist(), strict=True):
            darker, same = (image < pixel).float().sum(), (image == pixel).float().sum()
            assert value == pytest.approx(float(darker + same / 2) / 20)


@given(st.floats(0.2, 1.0), st.floats(0.0, 0.3), st.permutations(range(256)))
@settings(max_examples=30, deadline=None)
def test_nothing_is_left_of_brightness_contrast_and_colours(gain, offset, levels):
    shades = torch.tensor(sorted(levels[:60])).float() / 255
    image = shades[torch.randint(60, (1, 1, 16, 16), generator=torch.Generator().manual_seed(0))]
    curved = (image * 255).round() // 2 / 255 + 0.25  # at most two shades become one
    again = image.clamp(0, 1) * 1.0
    assert torch.equal(colourless(image), colourless(again))
    apart = (colourless(image) - colourless(curved)).abs().max()
    assert apart < 0.06
    one = torch.full((1, 3, 8, 8), gain * 0.5 + offset)
    one[:, 1] *= gain
    assert torch.equal(colourless(one), torch.full_like(one, 0.5)), "a picture of one colour shows nothing"


def test_the_hues_of_a_picture_tell_nothing_where_its_shades_are_the_same():
    grey = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * 0.3 + 0.2
    red = torch.cat([grey / 0.299, torch.zeros_like(grey), torch.zeros_like(grey)], 1).clamp(0, 1)
    dark = torch.cat([grey] * 3, 1) * 0.5
    assert (colourless(red.clamp(0, 1)) - colourless(torch.cat([red[:, :1] * 0.299] * 3, 1))).abs().max() < 0.04
    assert (colourless(dark) - colourless(grey)).abs().max() < 0.04


def test_copies_are_picked_out_and_one_answer_for_all_is_not():
    truth = drawn(50, 8)
    same = sighted(truth, truth)
    assert same.picked.all() and (same.place == 1).all() and torch.allclose(same.likeness, torch.ones(50))
    one = sighted(truth[:1].expand(50, -1), truth)
    assert not one.picked.any() and (one.place == 50).all(), "ties count against the original"
    jitter = truth[:1] + 1e-8 * drawn(50, 8, seed=1)
    assert not sighted(jitter, truth).picked.any(), "what differs by rounding is one answer"


def test_what_all_reconstructions_have_in_common_does_not_count():
    truth = drawn(60, 16)
    shifted = 0.3 * truth + 5 * drawn(1, 16, seed=3)
    assert sighted(shifted, truth).picked.all()


def test_answers_that_have_nothing_to_do_with_the_pictures_are_picked_out_by_chance_at_most():
    """Of the 199 likenesses of a row and a column of 100 the own one is the highest once."""
    hits = sum(int(sighted(drawn(100, 64, seed=i), drawn(100, 64, seed=1000 + i)).picked.sum()) for i in range(100))
    assert 0 < hits <= 70, "50 of 10,000 without the margin"
    texture = 0.5 * torch.ones(100, 64)
    looked = recognition.sighted(drawn(100, 64), drawn(100, 64, seed=1) + 3, texture)
    assert not looked.picked.any(), "what is alike in nothing is less like it than its texture"


def test_it_must_be_the_likeliest_both_ways():
    truth = torch.eye(30)
    hub = truth.clone()
    hub[1] = truth[0] + 0.9 * truth[1]  # of all originals the first is the likeliest for it
    found = sighted(hub, truth)
    assert not found.picked[1] and found.place[1] == 2 and found.picked[2:].all()
    other = truth.clone()
    other[2] = truth[1] * 1.0  # which is as good for the second original as its own
    found = sighted(other, truth)
    assert found.place[1] == 1 and not found.picked[1] and found.picked[3:].all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(FEWEST, 40), st.floats(0.1, 4))
def test_places_and_picks_are_what_counting_gives(seed, count, noise):
    truth = drawn(count, 6, seed=seed)
    rebuilt = truth + noise * drawn(count, 6, seed=seed + 1)
    a, b = (x.double() - x.mean(0).double() for x in (rebuilt, truth))
    a, b = (x / x.norm(dim=1, keepdim=True) for x in (a, b))
    found = sighted(rebuilt, truth)
    for i in range(count):
        row = [float(a[i] @ b[j]) for j in range(count)]
        column = [float(a[j] @ b[i]) for j in range(count)]
        assert int(found.place[i]) == 1 + sum(each > row[i] + 1e-9 for j, each in enumerate(row) if j != i)
        others = [each for table in (row, column) for j, each in enumerate(table) if j != i]
        ahead = row[i] - max(others)
        if abs(ahead - MARGIN) > 1e-5:
            assert bool(found.picked[i]) == (ahead > MARGIN)


def test_what_is_no_more_like_the_original_than_its_texture_is_not_picked_out():
    truth, elsewhere = torch.eye(60)[:30], torch.eye(60)[30:]
    texture = 0.6 * truth + 0.8 * elsewhere.roll(1, 0)  # of cosine 0.6
    for likeness, found in ((0.59, False), (0.6 + 0.9 * MARGIN, False), (0.6 + 1.1 * MARGIN, True)):
        rebuilt = likeness * truth + (1 - likeness**2) ** 0.5 * elsewhere
        seen = recognition.sighted(rebuilt, truth, texture)
        assert torch.allclose(seen.likeness, torch.full((30,), likeness), atol=1e-4)
        assert not found or bool(seen.picked.all())
        assert found or not seen.picked.any()


@pytest.mark.parametrize("size", [(32, 32), (9, 19), (5, 40)])
def test_pieces_in_disorder_are_the_same_pieces_elsewhere(size):
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    found = disordered(images)
    assert found.shape == images.shape and torch.equal(found, disordered(images))
    assert torch.equal(found.flatten(2).sort(2).values, images.flatten(2).sort(2).values)
    height, width = (side // PIECES for side in size)
    if height:
        assert not torch.equal(found, images)
        corner = found[0, :, :height, :width]
        places = [(row * height, column * width) for row in range(PIECES) for column in range(PIECES)]
        assert any(torch.equal(corner, images[0, :, y : y + height, x : x + width]) for y, x in places)


def test_galleries_are_alike_in_size_and_no_larger_than_a_hundred():
    assert [len(rows) for rows in galleries(GALLERY)] == [100] and [len(rows) for rows in galleries(101)] == [51, 50]
    assert torch.equal(torch.cat(galleries(257)), torch.arange(257))
    truth = drawn(150, 8)
    halves = [sighted(drawn(150, 8, seed=1)[rows] + truth[rows], truth[rows]) for rows in galleries(150)]
    whole = sighted(drawn(150, 8, seed=1) + truth, truth)
    assert torch.equal(whole.picked, torch.cat([half.picked for half in halves]))


def test_a_few_pictures_are_no_gallery():
    assert sighted(torch.eye(FEWEST), torch.eye(FEWEST)).picked.all()
    assert not sighted(torch.eye(FEWEST - 1), torch.eye(FEWEST - 1)).picked.any()


def test_features_of_other_pictures_are_refused():
    for shape in ((3, 4), (4, 5), (4,)):
        with pytest.raises(ValueError, match="features"):
            sighted(torch.zeros(*shape), torch.zeros(4, 4))
        with pytest.raises(ValueError, match="features"):
            recognition.sighted(torch.zeros(4, 4), torch.zeros(4, 4), torch.zeros(*shape))


def test_a_recogniser_vouches_while_what_reads_nothing_is_found_no_more_often_than_by_chance():
    hits = torch.zeros(100, dtype=torch.bool)
    assert by_chance(hits)
    hits[:2] = True
    assert by_chance(hits)
    hits[:4] = True
    assert not by_chance(hits)
