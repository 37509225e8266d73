"""Which logit is which class, and what a victim is right about."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atm.data import ImageSet
from atm.errors import AtmError
from atm.victims import Victim, load_victim
from atm.victims.classes import find_logits, imagenet_classes, read_classes
from atm.victims.victim import ACCURACY, AGREEMENT, IN_ORDER
from tests.atm.models import tiny_encoder
from tests.atm.victims.saved import NAME, model, pictures, save

IMAGENETTE = {
    "tench": 0, "English springer": 217, "cassette player": 482, "chain saw": 491, "church": 497, "French horn": 566,
    "garbage truck": 569, "gas pump": 571, "golf ball": 574, "parachute": 701,
}  # fmt: skip
WORDNET = ("n01440764", "n02102040", "n02979186", "n03000684", "n03028079", "n03394916", "n03417042", "n03425413",
           "n03445777", "n03888257")  # fmt: skip


def test_imagenets_words_and_wordnet_ids_find_their_logits():
    """The ten classes of Imagenette, whose places in ImageNet are published."""
    names = imagenet_classes(1000)
    assert find_logits(tuple(IMAGENETTE), names) == list(IMAGENETTE.values())
    assert find_logits(WORDNET, names) == list(IMAGENETTE.values())
    folders = tuple(name.lower().replace(" ", "_") for name in IMAGENETTE)
    assert find_logits(folders, names) == list(IMAGENETTE.values())
    assert imagenet_classes(10) == ()


def test_a_word_of_several_classes_finds_none():
    assert find_logits(("crane",), imagenet_classes(1000)) is None  # a bird and a machine
    assert find_logits(("tench", "Tinca tinca"), imagenet_classes(1000)) is None  # two folders of one class
    assert find_logits(("tench", "unicorn"), imagenet_classes(1000)) is None


@given(st.lists(st.text("abcXYZ_- ", min_size=1, max_size=6), min_size=1, max_size=8, unique=True), st.randoms())
def test_the_victims_own_names_are_found_in_any_order_and_number(names, random):
    wanted = random.sample(names, random.randint(1, len(names)))
    assert find_logits(wanted, names) == [names.index(name) for name in wanted]


def victim(classes=(), task="classification", outputs=5):
    return Victim("tiny", tiny_encoder(num_classes=outputs), classes, "0" * 64, task=task)


def of(classes) -> ImageSet:
    return pictures(tuple(classes), each=2)


def test_some_of_the_victims_classes_are_still_accuracy_over_all_logits():
    answers = victim(("a", "b", "c", "d", "e")).answers(of(["d", "b"]))
    assert answers.name == ACCURACY and answers.truth.tolist() == [3, 1, 3, 1]


def test_classes_without_names_are_taken_in_order_and_that_is_said():
    answers = victim().answers(of("vwxyz"))
    assert answers.name == IN_ORDER and answers.truth.tolist() == [0, 1, 2, 3, 4] * 2


@pytest.mark.parametrize("classes", [(), ("a", "b", "c", "d", "e")])
def test_other_classes_leave_agreement(classes):
    asked, images = victim(classes), of("xy")
    answers = asked.answers(images)
    assert answers.name == AGREEMENT and torch.equal(answers.truth, asked.logits(images).argmax(-1))


def test_a_backbone_is_right_about_nothing():
    backbone = victim(task=None, outputs=0)
    answers = backbone.answers(of("vwxyz"))
    assert answers.truth is None and answers.name is None
    with pytest.raises(AtmError, match="has no task"):
        backbone.need_task("a comparison")


def test_logits_that_are_no_numbers_are_refused():
    broken = victim()
    broken.encoder.vit.head.bias.data[0] = torch.nan
    with pytest.raises(AtmError, match="NaN or infinite"):
        broken.logits(of("ab"))


def test_names_from_a_file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("cat, felis\n\ndog\n", encoding="utf-8")
    assert read_classes(path, 2) == ("cat, felis", "dog")
    with pytest.raises(AtmError, match="names 2 classes, the victim has 3 logits"):
        read_classes(path, 3)
    with pytest.raises(AtmError, match="cannot be read"):
        read_classes(tmp_path / "missing.txt", 3)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AtmError, match="cannot be read"):
        read_classes(path, 3)


def test_named_classes_of_a_fine_tuned_model(tmp_path):
    weights = save(model(num_classes=3).state_dict(), tmp_path / "w.safetensors")
    names = tmp_path / "names.txt"
    names.write_text("hen\ncat\ndog\n", encoding="utf-8")
    named = load_victim(NAME, weights, classes=names)
    assert named.classes == ("hen", "cat", "dog")
    assert named.answers(of(["cat", "dog"])).truth.tolist() == [1, 2, 1, 2]
    headless = save(model(num_classes=0).state_dict(), tmp_path / "b.safetensors")
    with pytest.raises(AtmError, match="it has no logits"):
        load_victim(NAME, headless, classes=names)
