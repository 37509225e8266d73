"""What each kind of signal says of itself holds."""

from __future__ import annotations

import pytest
import torch

from atm.data.kinds import SOURCES
from atm.errors import AtmError
from atm.signals import SIGNALS, ImageSignal, TextSignal, arrays, kind
from attacks import BASELINES, available
from privacy_metrics import METRICS
from privacy_metrics.registry import metrics_of
from privacy_metrics.words import NO_WORD
from reports.shown import SHOWN
from tests.texts import LONGEST, WORDS, sentences, tiny_reader

PICTURES = ImageSignal((3, 12, 8), (3, 2))


def text() -> TextSignal:
    return tiny_reader().signal


@pytest.mark.parametrize("name", SIGNALS)
def test_every_kind_is_known_wherever_kinds_are_told_apart(name):
    assert SIGNALS[name].name == name and kind(name) is SIGNALS[name]
    assert metrics_of(name)[0] == SIGNALS[name].leakage and METRICS[SIGNALS[name].leakage].higher_is_leakier
    assert {name} <= SOURCES.keys() & BASELINES.keys() & SHOWN.keys()
    known, roles = available(), BASELINES[name]
    for attack in (*roles.blind, roles.retrieval, roles.closed_form):
        assert known[attack].serves(name) and known[attack].blind == (attack in roles.blind)
    assert roles.plain in roles.constant


def test_an_unknown_kind_is_refused():
    with pytest.raises(AtmError, match="smell"):
        kind("smell")


def test_units_of_pictures_and_of_sentences_turn_back():
    images = torch.rand(4, *PICTURES.shape)
    assert torch.equal(PICTURES.from_units(PICTURES.to_units(images)), images)
    words = sentences(20)
    units = text().to_units(words)
    assert units.shape == (20, LONGEST, text().unit) and torch.equal(text().from_units(units), words)
    torch.testing.assert_close(units.norm(dim=-1), (words != NO_WORD).float())
    assert torch.equal(text().from_units(units + 0.01 * torch.randn(units.shape) * (units != 0)), words)


def test_what_is_stored_is_scored_the_same_when_it_is_read_again():
    signal, words = text(), sentences(6)
    words[0, 1] = NO_WORD  # a gap
    files = signal.store(words)
    again = TextSignal.restore(files + signal.store(words.roll(1, 0)))
    mine, theirs = again.split(6)
    for name in metrics_of("text"):
        score = METRICS[name].compute
        assert torch.equal(score(mine, theirs), score(words, words.roll(1, 0)))
    assert files[0].decode().split("\n")[1] == ""
    images = (torch.rand(2, *PICTURES.shape) * 255).round() / 255
    assert torch.equal(ImageSignal.restore(PICTURES.store(images)), images)


def test_faults_are_named():
    signal, words = text(), sentences(3)
    assert signal.fault(words, 3) is None and signal.fault(signal.blank(3), 3) is None
    assert "expected int64 [4, 12]" in str(signal.fault(words, 4))
    assert "float32" in str(signal.fault(words.float(), 3))
    assert f"none of the {WORDS}" in str(signal.fault(words.clamp_min(0) + WORDS, 3))
    assert PICTURES.fault(torch.rand(2, *PICTURES.shape), 2) is None
    assert "NaN" in str(PICTURES.fault(torch.full((2, *PICTURES.shape), torch.nan), 2))


def test_sentences_are_no_arrays():
    assert arrays(PICTURES) is PICTURES
    with pytest.raises(AtmError, match="sentence"):
        arrays(text())


def test_the_loss_of_sentences_is_cross_entropy_where_there_are_words():
    signal, words = text(), sentences(4)
    right = torch.nn.functional.one_hot(words.clamp_min(0), WORDS).float() * 50
    assert float(signal.loss(right, words)) < 1e-6
    right[words == NO_WORD] = 0
    assert float(signal.loss(right, words)) < 1e-6 < float(signal.loss(right.roll(1, 0), words))
