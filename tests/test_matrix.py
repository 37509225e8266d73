"""Every defence with every codec, two exits and two kinds of victims: parts that work alone must work together."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

import defenses
from atm import channels
from atm.encoder import Encoded
from atm.errors import AtmError, KnowledgeError
from atm.knowledge import Knowledge
from atm.link import Link, Transmission
from atm.threat import PRESETS
from atm.tokens import NOWHERE, TokenBatch
from atm.wire import PLACES
from attacks.alignment import Alignment
from attacks.ridge import Ridge
from attacks.session import Session
from attacks.training import Schedule
from defenses.learned import Learned
from tests.systems import CHAINS, CHANNELS, CODECS, DEFENCES, EXITS, VICTIMS, pictures, refused, system

IMAGES, OWN = pictures(6), pictures(30, 1)
# Where tokens are dropped behind it, padding may be gone, or the token that it copies.
PADDED = [text for text in (*DEFENCES, *CHAINS) if "pad" in text and "drop" not in text.partition("pad")[2]]
# Every defence against every adversary; codec, exit and victim take turns, so that each meets both.
ATTACKED = [
    (defence, threat, CODECS[(d + t) % len(CODECS)], EXITS[(d + t // 2) % len(EXITS)], VICTIMS[(d + t // 3) % 2])
    for d, defence in enumerate(("", *DEFENCES, *CHAINS))
    for t, threat in enumerate(PRESETS)
]


def cells(*defences: str) -> pytest.MarkDecorator:
    """Parameters ``defence, codec, exit_layer, victim`` of every cell of the matrix in which a system can be."""
    return pytest.mark.parametrize(
        ("defence", "codec", "exit_layer", "victim"),
        [(d, c, e, v) for v in VICTIMS for e in EXITS for c in CODECS for d in defences if not refused(d, v)],
    )


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch):
    monkeypatch.setattr(Learned, "rounds", 3)


@cache
def encoded(exit_layer: int, victim: str) -> Encoded:
    return system("", "uncoded", exit_layer, victim).encode(IMAGES)


def transmit(link: Link, victim: str, seed: int = 1) -> Transmission:
    return link.transmit(encoded(link.policy.device_layers, victim), seed)


def test_every_registered_defence_and_channel_is_in_the_matrix():
    assert {text.partition(":")[0] for text in DEFENCES} == set(defenses.available())
    assert {text.partition(":")[0] for text in CHANNELS} == set(channels.CHANNELS)


@cells("", *DEFENCES, *CHAINS)
def test_what_is_sent_is_finite_whole_and_the_same_again(defence, codec, exit_layer, victim):
    link = system(defence, codec, exit_layer, victim, "awgn:15")
    done, again = transmit(link, victim), transmit(link, victim)
    for part in (done.sent.values, done.on_air, done.received.values, done.logits, done.symbols, done.coding_flops):
        assert part.isfinite().all()
    for own, other in ((done.on_air, again.on_air), (done.logits, again.logits), (done.symbols, again.symbols)):
        assert torch.equal(own, other)
    power = torch.stack([part.abs().square().mean() for part in done.on_air.split(done.sent.counts)])
    # QAM has unit power over all points, not over those that one image needs
    torch.testing.assert_close(power, torch.ones(len(IMAGES)), atol=0.3 if codec == "digital" else 1e-3, rtol=0)
    assert_conserved(done.sent)
    assert_conserved(done.sent.without_padding()[0])
    assert bool((done.sent.lengths > 0).all() and done.logits.shape == (len(IMAGES), 5))


def assert_conserved(tokens: TokenBatch) -> None:
    """Every patch that arrived is counted once, in the token in which the map says that it ended."""
    arrived = tokens.source != NOWHERE
    assert tokens.sizes is not None and len(tokens.values) == len(tokens.sizes) == sum(tokens.counts)
    counted = torch.zeros(len(tokens.sizes))
    rows = (tokens.source + tokens.offsets[:, None])[arrived]
    counted.index_add_(0, rows, torch.ones(len(rows)))
    counted[(tokens.offsets[:, None] + torch.arange(tokens.prefix)).flatten()] = 1
    assert torch.equal(counted, tokens.sizes)
    assert bool(arrived.any(1).all()), "of each image something arrives"


@pytest.mark.parametrize(("defence", "threat", "codec", "exit_layer", "victim"), ATTACKED)
def test_every_adversary_who_can_be_finishes_her_attack(defence, threat, codec, exit_layer, victim, monkeypatch):
    if refused(defence, victim):
        pytest.skip("the device cannot be")
    monkeypatch.setattr(Alignment, "QUICK", {"schedule": Schedule(steps=3, every=3)})
    link = system(defence, codec, exit_layer, victim, "awgn:15")
    hidden_places = Knowledge.ORDER not in PRESETS[threat].knows and PLACES in link.wire.fields
    try:
        session = Session(link, PRESETS[threat], OWN)
    except KnowledgeError as error:
        assert hidden_places and "places" in str(error)
        return
    assert not hidden_places
    transmission, seen, true_map = session.victims(IMAGES)
    assert len(seen) == len(IMAGES) == len(true_map) and bool(transmission.logits.isfinite().all())
    known = {Knowledge.MERGE_MAP: seen.tokens.source, Knowledge.SIZES: seen.tokens.sizes, Knowledge.SNR: seen.snr_db}
    for knowledge, shown in known.items():
        assert (shown is not None) == (knowledge in session.threat.knows)
    if seen.tokens.sizes is not None:
        assert bool((seen.tokens.sizes > 0).all()), "who knows which tokens are padding throws them away"
    able = any(option in session.threat.knows for option in Ridge.needs_one_of)
    if not able:
        with pytest.raises(KnowledgeError, match="'ridge' needs"):
            session.fitted(Ridge)
        return
    rebuilt = session.fitted(Ridge).reconstruct(seen)
    assert rebuilt.shape == IMAGES.shape and bool(rebuilt.isfinite().all())


@cells(*PADDED)
def test_padding_never_changes_an_answer(defence, codec, exit_layer, victim):
    link = system(defence, codec, exit_layer, victim)
    sent = transmit(link, victim)
    padding, (real, _) = sent.sent.padding, sent.sent.without_padding()
    assert padding is not None
    if codec == "digital":  # a padding token may share its block of code with others, so that they err together
        symbols, side = link.codec.encode(real, link.channel.snr_db)
        received = link.receive(symbols, side, real, link.channel.snr_db)
    else:
        noisy = torch.where(padding[:, None], 9 * torch.randn_like(sent.on_air), sent.on_air)
        received, _ = link.receive(noisy, sent.side, sent.sent, sent.snr_db).without_padding()
    torch.testing.assert_close(link.encoder.finish(received, link.policy), sent.logits, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("codec", ["uncoded", "learned"])
@pytest.mark.parametrize("defence", PADDED)
def test_padding_looks_on_the_air_like_the_token_that_it_copies(defence, codec):
    link = system(defence, codec, 1, "absolute")
    tokens = transmit(link, "absolute").sent
    tokens = replace(tokens, sizes=tokens.sizes.clamp_max(1))  # a copy is sent as if it stood for one patch
    symbols, _ = link.codec.encode(tokens, 10.0)
    for rows in torch.arange(len(symbols)).split(tokens.counts):
        for copy in rows[tokens.padding[rows]]:
            same = rows[(tokens.values[rows] == tokens.values[copy]).all(1)]
            assert bool((~tokens.padding[same]).any())
            torch.testing.assert_close(symbols[same], symbols[copy].expand(len(same), -1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_system_that_cannot_be_is_refused_in_one_line(victim):
    if not refused("shuffle", victim):
        pytest.skip("it can be")
    with pytest.raises(AtmError, match="places") as caught:
        transmit(system("shuffle", "uncoded", 1, victim), victim)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("defence", [*DEFENCES, *CHAINS])
def test_a_defence_serves_the_exit_that_it_was_fitted_at_and_no_other(defence):
    asked = defenses.create(defence)
    first, second = (defenses.fitted(asked, system("", "uncoded", at, "absolute"), IMAGES) for at in EXITS)
    assert first.defence is not second.defence and asked.fitted_at is None
    assert (first.defence.fitted_at, second.defence.fitted_at) == EXITS
    assert torch.equal(transmit(first, "absolute").on_air, transmit(first, "absolute").on_air)
    for link, other in ((first, second), (second, first)):
        with pytest.raises(AtmError, match=f"fitted to the tokens of layer {link.policy.device_layers}"):
            link.with_policy(other.policy)
        with pytest.raises(AtmError, match="fitted to the tokens"):
            other.with_defence(link.defence)
