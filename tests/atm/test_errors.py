"""Names that nothing answers to: what is nearly written so is suggested, and of many names nothing by chance."""

from __future__ import annotations

import pytest

from atm.errors import MANY, resembling, unknown
from atm.victims.timm_models import no_victim


def test_of_few_names_a_slip_finds_its_name():
    assert str(unknown("attack", "rigde", ["ridge", "whole"])).endswith("did you mean 'ridge'?")
    assert str(unknown("attack", "zzz", ["ridge", "whole"])).endswith("choose one of ridge, whole")


def test_of_many_names_none_is_suggested_that_resembles_by_letters_alone():
    many = [f"noting_{number:03d}_model" for number in range(MANY + 1)]
    assert resembling("nothing", ["noting_model"]) and not resembling("nothing", many)
    assert "'noting_007_model'" in resembling("noting_07_model", many)


@pytest.mark.parametrize("name", ["nothing", "vit", ""])
def test_a_name_that_is_no_victim_is_told_which_are_shipped(name):
    told = str(no_victim(name))
    assert "shipped are vit_cifar10 and vit_photos" in told and "atm list victims" in told
    assert "did you mean" not in told
    assert "did you mean 'vit_photos'" in str(no_victim("vit_photo"))
