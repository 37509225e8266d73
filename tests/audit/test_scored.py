"""What is scored: answers against the truth, and reconstructions that are pictures, of pictures she does not have."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from atm.data import ImageSet, Splits
from atm.errors import AtmError
from atm.link import Link
from atm.policy import MergePolicy
from audit.evaluate import _check, _link_rows, _refuse_overlap
from tests.atm.models import tiny_encoder

ORIGINALS = torch.full((2, 3, 4, 4), 0.5)


def test_pictures_from_black_to_white_are_scored():
    _check("ridge", torch.zeros(2, 3, 4, 4), ORIGINALS)
    _check("ridge", torch.ones(2, 3, 4, 4), ORIGINALS)


@pytest.mark.parametrize("pixel", [math.nan, math.inf, -math.inf, -1e-6, 1 + 1e-6])
def test_one_pixel_that_cannot_be_is_refused(pixel):
    rebuilt = ORIGINALS.clone()
    rebuilt[1, 2, 3, 0] = pixel
    with pytest.raises(AtmError, match="'ridge' returned pixels"):
        _check("ridge", rebuilt, ORIGINALS)


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (3, 3, 4, 4), (2, 1, 4, 4), (2, 3, 4, 5), (2, 48)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(AtmError, match="'ridge' returned images"):
        _check("ridge", torch.zeros(shape), ORIGINALS)


def pictures(*shades: int) -> ImageSet:
    pixels = torch.tensor(shades, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
    return ImageSet("x", pixels.contiguous(), torch.zeros(len(shades), dtype=torch.long), ("a",))


def test_a_victim_that_is_known_anywhere_is_refused_and_counted():
    apart = Splits(victims=pictures(1, 2, 3), auxiliary=pictures(4, 5), validation=pictures(6), removed=0)
    _refuse_overlap(apart)
    for part in ("auxiliary", "validation"):
        with pytest.raises(AtmError, match="2 of the 3 attacked pictures"):
            _refuse_overlap(replace(apart, **{part: pictures(9, 3, 1)}))
    both = replace(apart, auxiliary=pictures(1, 4), validation=pictures(2, 1))
    with pytest.raises(AtmError, match="2 of the 3"):
        _refuse_overlap(both)


def test_answers_are_right_where_they_are_the_truth():
    policy = MergePolicy.uniform(0.5, 3)
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    sent = Link(tiny_encoder(), policy).transmit(images, 1)
    answers = sent.logits.argmax(-1)
    truth = answers.clone()
    truth[:2] = (truth[:2] + 1) % 5
    rows = _link_rows(policy, sent, truth)
    assert rows.correct.tolist() == [0, 0, 1, 1, 1, 1] and rows.image.tolist() == list(range(6))
    assert rows.label.tolist() == truth.tolist() and rows.answer.tolist() == answers.tolist()
    assert rows.gflops.tolist() == pytest.approx([flops / 1e9 for flops in sent.flops.tolist()])
    assert rows.coding_gflops.tolist() == pytest.approx([flops / 1e9 for flops in sent.coding_flops.tolist()])
    assert rows.tokens.tolist() == list(sent.sent.counts) and rows.symbols.tolist() == sent.symbols.tolist()
    assert rows.header.tolist() == sent.header.tolist() and set(rows.policy) == {policy.name}
    unknown = _link_rows(policy, sent, None)
    assert unknown[["label", "answer", "correct"]].isna().all(axis=None)
