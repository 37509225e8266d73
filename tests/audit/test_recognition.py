"""Of labels a recogniser speaks by pictures of each class alike, by no class without pictures, or not at all."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import normalize

from atm.data import ImageSet, Splits
from atm.errors import AtmError
from atm.recogniser import Recogniser
from atm.signals import AskedSignal, ImageSignal, TextSignal
from audit import recognition
from audit.recognition import LEARNED, Recognition, balanced
from reports.recognition import SEEN

CLASSES = 8


def pictures(labels: torch.Tensor, classes: int, first: int) -> ImageSet:
    """Pictures whose first pixel is their label, all different."""
    pixels = torch.zeros(len(labels), 3, 2, 2, dtype=torch.uint8)
    pixels[:, 0, 0, 0] = labels.to(torch.uint8)
    number = torch.arange(first, first + len(labels))
    pixels[:, 1, 0, 0], pixels[:, 1, 0, 1] = number % 256, number // 256
    return ImageSet("made", pixels, labels, tuple(f"class {n:03}" for n in range(classes)))


class Sees:
    """A recogniser whose features are a direction of each class, with a little of each picture."""

    def __init__(self, classes: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.directions = normalize(torch.randn(classes, classes * 2, generator=generator), dim=1)
        self.looked = list[torch.Tensor]()

    def features(self, images: torch.Tensor) -> torch.Tensor:
        labels = (images[:, 0, 0, 0] * 255).round().long()
        self.looked.append(labels)
        return self.directions[labels] + 0.01 * images[:, 1].flatten(1).sum(1, keepdim=True)


def seen(victims: torch.Tensor, hers: torch.Tensor, classes: int = CLASSES) -> tuple[dict[str, torch.Tensor], Sees]:
    who, held = Sees(classes), max(len(hers) // 10, 1)
    attacked = pictures(victims, classes, 0)
    own = pictures(hers[held:], classes, 1000), pictures(hers[:held], classes, 9000)
    found = Recognition(who, Splits(attacked, *own, removed=0)).scores(attacked.inputs)
    return found, who


def test_classes_that_come_late_among_her_pictures_are_looked_at_as_well():
    hers = torch.arange(CLASSES).repeat_interleave(100)
    found, who = seen(torch.arange(CLASSES).repeat(5), hers)
    assert bool(found[SEEN].all())
    learned = next(labels for labels in who.looked if len(labels) == LEARNED)
    assert learned.bincount().tolist() == [LEARNED // CLASSES] * CLASSES


def test_a_class_without_pictures_is_never_seen(monkeypatch):
    """Nor where all reconstructions are the same, which are as much like one class as like another."""
    monkeypatch.setattr(recognition, "centred", torch.zeros_like)
    victims = torch.cat([torch.zeros(1, dtype=torch.long), torch.tensor([1, 2]).repeat(20)])
    found, _ = seen(victims, torch.tensor([1, 2] * 50))
    assert torch.equal(found[SEEN], (victims == 1).float())


def test_where_too_few_of_the_victims_classes_are_covered_nothing_is_said_of_labels():
    hers = torch.tensor([0, 1] * 50)
    for missing, said in ((10, True), (11, False)):
        victims = torch.cat([torch.zeros(100 - missing, dtype=torch.long), torch.full((missing,), 5)])
        assert (SEEN in seen(victims, hers)[0]) == said
    many = torch.arange(250)
    found, _ = seen(many, many.repeat(2), classes=250)
    assert SEEN not in found, "of 250 classes 200 pictures cover too few"


def test_draws_are_balanced_seeded_and_all_there_is_where_there_is_little():
    labels = torch.cat([torch.zeros(500), torch.ones(30), torch.full((3,), 2)]).long()
    rows = balanced(labels, 100)
    assert labels[rows].bincount().tolist() == [67, 30, 3] and len(rows.unique()) == 100
    assert torch.equal(rows, balanced(labels, 100))
    assert balanced(labels, 1000).sort().values.tolist() == list(range(533))


@pytest.mark.parametrize(("kind", "taken"), [(ImageSignal, True), (AskedSignal, True), (TextSignal, False)])
def test_whoever_takes_in_pictures_can_be_looked_at(monkeypatch, kind, taken):
    encoder = SimpleNamespace(signal=object.__new__(kind), device="cpu")
    victim = SimpleNamespace(name="it", encoder=encoder, digest="1", body="")
    monkeypatch.setattr(recognition, "beginning", lambda encoder: "2")
    monkeypatch.setattr(Recogniser, "load", lambda name, weights, apart_from, device: (name, apart_from))
    if taken:
        assert Recognition.load("clip", None, victim, None).recogniser == ("clip", {"1", "2", ""})
    else:
        with pytest.raises(AtmError, match="takes in sentences"):
            Recognition.load("clip", None, victim, None)
