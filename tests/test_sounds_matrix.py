"""A small Whisper and what it writes: every defence against every adversary, with codecs and channels by turns."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch

import defenses
from atm.digital import DigitalCodec
from atm.encoder import Encoder
from atm.errors import KnowledgeError
from atm.link import Link
from atm.maps import Maps
from atm.policy import MergePolicy
from atm.threat import PRESETS
from atm.victims import load_victim
from atm.victims.answers import TranscriptAnswers
from atm.victims.transcripts import transcribing
from attacks.alignment import Alignment
from attacks.ridge import Ridge
from attacks.session import Session
from attacks.training import Schedule
from defenses.learned import Learned
from tests.sounds import speaking, whisper
from tests.systems import CHAINS, CHANNELS, CODECS, DEFENCES, EXITS, channel, codec

ATTACKED = [
    (defence, threat, CODECS[(d + t) % len(CODECS)], EXITS[(d + t // 2) % len(EXITS)], CHANNELS[(d + t) % 5])
    for d, defence in enumerate(("", *DEFENCES, *CHAINS))
    for t, threat in enumerate(PRESETS)
]


WRITTEN = [
    (defence, CODECS[number % 3], EXITS[(number + shift) % 2], CHANNELS[(number + 2 * shift) % 5])
    for shift in range(3)
    for number, defence in enumerate(("", *DEFENCES, *CHAINS), shift)
]


@cache
def sounds(count: int, seed: int) -> torch.Tensor:
    """``[count, 1, 16, 48]``: smooth spectrograms that end in silence."""
    coarse = torch.rand(count, 1, 4, 9, generator=torch.Generator().manual_seed(seed))
    made = torch.nn.functional.interpolate(coarse, size=(16, 48), mode="bilinear")
    ends = torch.randint(20, 48, (count, 1, 1, 1), generator=torch.Generator().manual_seed(seed))
    return made.where(torch.arange(48) < ends, 0.1)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Encoder:
    path: Path = tmp_path_factory.mktemp("whisper")
    whisper(path, d_model=128, encoder_attention_heads=4, decoder_attention_heads=4)  # as wide as the shipped codec
    return load_victim(str(path)).encoder


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch):
    monkeypatch.setattr(Learned, "rounds", 3)
    monkeypatch.setattr(Alignment, "QUICK", {"schedule": Schedule(steps=3, every=3)})


def system(encoder: Encoder, defence: str, kind: str, exit_layer: int, over: str) -> Link:
    policy = MergePolicy.uniform(0.6, encoder.depth, exit_layer=exit_layer)
    if kind == "digital":
        pytest.importorskip("sionna", reason="needs the extra 'sionna'")
        chosen = DigitalCodec(encoder.width, 16, 10.0)
        chosen.fit_to(encoder(sounds(16, 5), policy).tokens.values)
        link = Link(encoder, policy, chosen.eval(), channel(over))
    else:
        link = Link(encoder, policy, codec(kind, encoder, exit_layer), channel(over))
    return defenses.fitted(defenses.create(defence), link, sounds(24, 3)) if defence else link


@pytest.mark.parametrize(("defence", "threat", "codec", "exit_layer", "over"), ATTACKED)
def test_every_adversary_finishes_her_attack(encoder, defence, threat, codec, exit_layer, over):
    link, victims = system(encoder, defence, codec, exit_layer, over), sounds(6, 0)
    session = Session(link, PRESETS[threat], sounds(30, 1))
    transmission, seen, true_map = session.victims(victims)
    assert len(seen) == len(victims) == len(true_map) and bool(transmission.logits.isfinite().all())
    assert true_map.shape == (6, 24)
    if not any(option in session.threat.knows for option in Ridge.needs_one_of):
        with pytest.raises(KnowledgeError, match="'ridge' needs"):
            session.fitted(Ridge)
        return
    rebuilt = session.fitted(Ridge).reconstruct(seen)
    assert link.signal.fault(rebuilt, 6) is None


@pytest.mark.parametrize("threshold", [1.0, 0.6])
def test_merging_joins_frames_and_counts_each_once(encoder, threshold):
    encoded = encoder(sounds(6, 0), MergePolicy.uniform(threshold, encoder.depth))
    tokens = encoded.tokens
    assert tokens.prefix == 0 and tokens.source.shape == (6, 24)
    assert [int(row.unique().numel()) for row in tokens.source] == tokens.counts
    assert (min(tokens.counts) < 24) == (threshold < 1)
    assert tokens.sizes is None or float(tokens.sizes.sum()) == 6 * 24


@pytest.mark.parametrize("knows", ["server", "black-box"])
def test_a_leak_is_found_and_where_nothing_is_sent_none_is(encoder, knows):
    """Ridge at an unprotected exit rebuilds sounds that noise alone hides."""
    errors = []
    for over in ("noiseless", "awgn:-40"):
        link = system(encoder, "", "uncoded", 1, over)
        session = Session(link, PRESETS[knows], sounds(200, 1))
        _, seen, _ = session.victims(sounds(20, 0))
        rebuilt = session.fitted(Ridge).reconstruct(seen)
        errors.append(float((rebuilt - sounds(20, 0)).square().mean()))
    blind = float((sounds(200, 1).mean(0) - sounds(20, 0)).square().mean())
    assert errors[0] < 0.5 * blind and errors[1] > 0.8 * blind


@pytest.mark.parametrize("kind", CODECS)
def test_sounds_are_merged_by_learned_maps_and_attacked(encoder, kind):
    random = torch.Generator().manual_seed(0)
    maps = Maps.of([(torch.randn(16, encoder.width, generator=random), torch.zeros(16)) for _ in range(2)], {})
    policy = MergePolicy.uniform(0.6, encoder.depth, exit_layer=1, match="learned", maps=maps)
    plain = system(encoder, "", kind, 1, "awgn:10")
    session = Session(Link(encoder, policy, plain.codec, plain.channel), PRESETS["server"], sounds(30, 1))
    transmission, seen, _ = session.victims(sounds(6, 0))
    assert max(transmission.sent.counts) < 24, "something merged"
    assert session.signal.fault(session.fitted(Ridge).reconstruct(seen), 6) is None


@pytest.fixture(scope="module")
def writer(tmp_path_factory) -> Encoder:
    pytest.importorskip("jiwer", reason="needs the extra audio (jiwer), which is missing")
    path: Path = tmp_path_factory.mktemp("speaking")
    speaking(path, d_model=128, encoder_attention_heads=4, decoder_attention_heads=4)
    return transcribing(load_victim(str(path))).encoder


@pytest.mark.parametrize(("defence", "codec", "exit_layer", "over"), WRITTEN)
def test_what_arrives_is_written_down(writer, defence, codec, exit_layer, over):
    """Through every defence and codec, merged: what the server writes, and what is heard in what ridge rebuilds."""
    link, victims = system(writer, defence, codec, exit_layer, over), sounds(6, 0)
    session = Session(link, PRESETS["server"], sounds(30, 1))
    transmission, seen, _ = session.victims(victims)
    answers = TranscriptAnswers.of(torch.tensor([0, 1, 2] * 2), "accuracy", ("one", "two", "three"))
    answered = answers.answered(link, transmission)
    received = transmission.received.without_padding()[0]
    assert answered.written.texts == writer.transcribe(received, link.policy)
    assert answered.numbers.tolist() == answers.said(link, transmission).tolist()
    heard = answers.read(link.encoder, session.fitted(Ridge).reconstruct(seen))
    for written in (answered.written, heard):
        assert len(written.texts) == len(written.wrong) == len(written.right) == 6
        assert all(0 <= wrong < float("inf") for wrong in written.wrong)
        assert [wrong == 0 for wrong in written.wrong] == written.right.bool().tolist()


def test_what_is_written_follows_what_arrives(writer):
    """Clear tokens give the same texts as the device's own, noise gives others."""
    clear, drowned = (system(writer, "", "uncoded", 2, over) for over in ("noiseless", "awgn:-40"))
    answers = TranscriptAnswers.of(torch.zeros(6, dtype=torch.long), "accuracy", ("one", "two"))
    texts = [answers.answered(link, link.transmit(sounds(6, 0))).written.texts for link in (clear, drowned)]
    tokens = writer(sounds(6, 0), clear.policy).tokens
    assert texts[0] == writer.transcribe(tokens, clear.policy) != texts[1]
