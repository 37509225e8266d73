"""Text with every codec, adversary and defence: each finishes its attack on sentences, with values that are finite."""

from __future__ import annotations

from functools import cache

import pytest
import torch

import defenses
from atm import channels, digital
from atm.codec import UncodedAnalog
from atm.errors import KnowledgeError
from atm.jscc import JsccCodec
from atm.link import Link
from atm.maps import Maps
from atm.policy import MergePolicy
from atm.threat import PRESETS
from atm.wire import ARRIVED, SIZES
from attacks.alignment import Alignment
from attacks.base import permitted
from attacks.relaxed_words import RelaxedWords
from attacks.session import Campaign, Session
from attacks.training import Schedule
from attacks.word_decoder import WordDecoder
from attacks.word_ridge import WordRidge
from defenses.learned import Learned
from privacy_metrics.words import NO_WORD, rouge_l
from tests.systems import CHAINS, DEFENCES
from tests.texts import WIDTH, sentences, tiny_reader

VICTIMS, OWN = sentences(6), sentences(40, 1)
CODECS, THREATS = ("uncoded", "learned", "digital"), tuple(PRESETS)
POLICY = MergePolicy.uniform(0.5, 3, exit_layer=2)
CELLS = [
    (defence, CODECS[number % 3], THREATS[(2 * number + shift) % len(THREATS)])
    for number, defence in enumerate(("", *DEFENCES, *CHAINS))
    for shift in range(3)
]


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch):
    monkeypatch.setattr(Learned, "rounds", 2)
    monkeypatch.setattr(Alignment, "QUICK", {"schedule": Schedule(steps=3, every=3)})
    monkeypatch.setattr(WordDecoder, "QUICK", {"schedule": Schedule(steps=3, every=3), "width": 16, "layers": 1})


@cache
def codec(kind: str):
    if kind == "uncoded":
        return UncodedAnalog(WIDTH)
    if kind == "learned":
        torch.manual_seed(0)
        return JsccCodec(WIDTH, (8,), 32).eval().requires_grad_(False)
    pytest.importorskip("sionna", reason="needs the extra 'sionna'")
    return digital.fitted("10,symbols=16", tiny_reader(), 2)


def test_sizes_of_sentences_come_with_the_number_of_their_words():
    """A sentence need not fill its places, so how many words its tokens stand for together must be sent."""
    link = Link(tiny_reader(), POLICY)
    assert SIZES in link.wire.fields and ARRIVED in link.wire.fields
    sent = link.transmit(sentences(20, 5), 1).sent
    assert len({float(part.sum()) for part in sent.sizes.split(sent.counts)}) > 1


@pytest.mark.parametrize(("defence", "kind", "threat"), CELLS)
def test_an_attack_on_every_system_of_sentences_ends(defence, kind, threat):
    link = Link(tiny_reader(), POLICY, codec(kind), channels.parse("awgn:15"))
    if defence:
        link = defenses.fitted(defenses.create(defence), link, sentences(30, 3))
    session = Session(link, PRESETS[threat], OWN, campaign=Campaign(quick=True))
    transmission, seen, true_map = session.victims(VICTIMS)
    for part in (transmission.sent.values, transmission.on_air, transmission.received.values, transmission.logits,
                 transmission.flops, transmission.symbols):  # fmt: skip
        assert part.isfinite().all()
    assert transmission.logits.shape == (6, 2) and true_map.shape == VICTIMS.shape
    rebuilt = session.fitted(WordDecoder).reconstruct(seen)
    assert link.signal.fault(rebuilt, 6) is None and rouge_l(rebuilt, VICTIMS).isfinite().all()
    assert bool((rebuilt != NO_WORD).any(1).all())
    if permitted(WordRidge, session.threat):
        assert link.signal.fault(session.fitted(WordRidge).reconstruct(seen), 6) is None
    else:
        with pytest.raises(KnowledgeError, match="word_ridge"):
            session.fitted(WordRidge)


@pytest.mark.parametrize("kind", CODECS)
@pytest.mark.parametrize("rule", [{}, {"average": "size", "proportional_attention": True}], ids=["norm", "size"])
def test_sentences_are_merged_by_learned_maps_and_attacked(kind, rule):
    """Through every codec, and by those who hold the weights too."""
    random = torch.Generator().manual_seed(0)
    maps = Maps.of([(torch.randn(8, WIDTH, generator=random), torch.zeros(8)) for _ in range(3)], {})
    policy = MergePolicy.uniform(0.6, 3, exit_layer=2, match="learned", maps=maps, **rule)
    session = Session(
        Link(tiny_reader(), policy, codec(kind), channels.parse("awgn:15")), PRESETS["server"], OWN,
        campaign=Campaign(quick=True),
    )  # fmt: skip
    transmission, seen, _ = session.victims(VICTIMS)
    assert sum(transmission.sent.counts) < sum(int((row != NO_WORD).sum()) + 2 for row in VICTIMS), "something merged"
    for make in (WordRidge, RelaxedWords):
        assert session.signal.fault(session.fitted(make).reconstruct(seen), 6) is None
