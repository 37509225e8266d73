"""The worst case over attacks, image by image."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from privacy_metrics.leakage import RECOGNISABLE_SSIM, best_attack, leakage, recognisable

SCORES = {
    "ridge": torch.tensor([0.9, 0.2, 0.5]),
    "decoder": torch.tensor([0.1, 0.8, 0.5]),
    "mean": torch.tensor([0.3, 0.3, 0.3]),
}
TABLES = st.integers(1, 6).flatmap(
    lambda images: st.dictionaries(
        st.text(min_size=1, max_size=4),
        st.lists(st.floats(-1, 1, width=32), min_size=images, max_size=images).map(torch.tensor),
        min_size=1,
        max_size=4,
    )
)


def test_the_best_score_of_each_image_counts_and_not_the_best_attack():
    assert torch.equal(leakage(SCORES), torch.tensor([0.9, 0.8, 0.5]))
    assert leakage(SCORES).mean() > max(values.mean() for values in SCORES.values())
    assert best_attack(SCORES) == ["ridge", "decoder", "ridge"]


def test_for_a_distance_the_lowest_counts():
    assert torch.equal(leakage(SCORES, higher_is_leakier=False), torch.tensor([0.1, 0.2, 0.3]))
    assert best_attack(SCORES, higher_is_leakier=False) == ["decoder", "ridge", "mean"]


def test_of_equals_the_first_is_named():
    assert best_attack({"b": torch.ones(1), "a": torch.ones(1)}) == ["b"]


@given(TABLES, st.booleans())
def test_another_attack_never_makes_it_less(scores, higher):
    sign = 1 if higher else -1
    all_of_them = leakage(scores, higher)
    for values in scores.values():
        assert (sign * all_of_them >= sign * values).all()
    for image, attack in enumerate(best_attack(scores, higher)):
        assert scores[attack][image] == all_of_them[image]


def test_nan_is_refused_with_the_name_of_the_attack():
    for judge in (leakage, best_attack):
        with pytest.raises(ValueError, match="'decoder' hold NaN"):
            judge({**SCORES, "decoder": torch.tensor([0.1, torch.nan, 0.5])})


def test_scores_of_other_images_are_refused():
    with pytest.raises(ValueError, match=r"'mean' have the shape \[2\].*'ridge', \[3\]"):
        leakage({**SCORES, "mean": torch.zeros(2)})
    with pytest.raises(ValueError, match=r"shape \[\]"):
        leakage({"ridge": torch.tensor(0.5)})
    with pytest.raises(ValueError, match="at least one attack"):
        leakage({})


def test_recognisable_from_the_threshold_on():
    ssim = torch.tensor([RECOGNISABLE_SSIM - 1e-3, RECOGNISABLE_SSIM, 1.0])
    assert recognisable(ssim).tolist() == [False, True, True]
    assert recognisable(ssim, threshold=0.9).tolist() == [False, False, True]
    with pytest.raises(ValueError, match="NaN"):
        recognisable(torch.tensor([torch.nan]))
