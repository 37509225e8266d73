"""A recogniser looks at pictures without their colours, at each once, and is never the victim."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file

from atm.errors import AtmError
from atm.recogniser import Recogniser, beginning
from atm.victims import load_victim


@pytest.fixture(scope="module")
def recogniser() -> Recogniser:
    return Recogniser.load("vit_cifar10", None, ())


def pictures(count: int, size: int = 40) -> torch.Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_the_victim_is_no_judge_of_what_aims_at_it():
    victim = load_victim("vit_photos")
    with pytest.raises(AtmError, match="is the victim"):
        Recogniser.load("vit_photos", None, {victim.digest, ""})
    with pytest.raises(AtmError, match="nowhere"):
        Recogniser.load("nowhere", None, ())


def test_the_victim_is_known_at_another_image_size_and_with_another_head(tmp_path):
    path = tmp_path / "weights.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model("test_vit", img_size=64, num_classes=5).state_dict(), path)
    here, smaller = (load_victim("test_vit", path, image_size=size) for size in (64, 32))
    assert here.digest != smaller.digest
    with pytest.raises(AtmError, match="is the victim"):
        Recogniser.load("test_vit", str(path), {smaller.digest, smaller.body, beginning(smaller.encoder)})
    save_file(timm.create_model("test_vit", img_size=64, num_classes=5).state_dict(), tmp_path / "other.safetensors")
    other = load_victim("test_vit", tmp_path / "other.safetensors", image_size=64)
    assert Recogniser.load("test_vit", str(path), {other.digest, beginning(other.encoder)}).digest == here.digest


def test_features_are_of_each_picture_whatever_else_is_shown_and_whatever_its_size(recogniser):
    images = pictures(20)
    found = recogniser.features(images)
    assert found.shape == (20, recogniser.encoder.width) and bool(found.isfinite().all())
    fresh = Recogniser(recogniser.name, recogniser.digest, recogniser.encoder)
    assert torch.allclose(fresh.features(images[7:9]), found[7:9], atol=1e-5)
    assert recogniser.features(pictures(2, 17)).shape == found[:2].shape


def test_a_picture_is_looked_at_once(recogniser, monkeypatch):
    images = pictures(5, 33)
    first = recogniser.features(images)
    looked = []
    monkeypatch.setattr(type(recogniser), "_shown", lambda self, part: looked.append(len(part)))
    again = recogniser.features(torch.cat([images[3:], images[:3]]))
    assert looked == [] and torch.equal(again, torch.cat([first[3:], first[:3]]))


def test_the_same_shades_in_other_colours_and_light_are_the_same(recogniser):
    grey = (pictures(3)[:, :1] * 40).round() / 255
    shown = [torch.cat([grey * gain] * 3, 1) for gain in (1.0, 3.0, 5.0)]
    one, two, three = (recogniser.features(each) for each in shown)
    assert torch.allclose(one, two, atol=1e-4) and torch.allclose(one, three, atol=1e-4)
