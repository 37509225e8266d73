"""A small Whisper with every defence, against every adversary, with codecs and channels by turns."""

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
from attacks.alignment import Alignment
from attacks.ridge import Ridge
from attacks.session import Session
from attacks.training import Schedule
from defenses.learned import Learned
from tests.sounds import whisper
from tests.systems import CHAINS, CHANNELS, CODECS, DEFENCES, EXITS, channel, codec

ATTACKED = [
    (defence, threat, CODECS[(d + t) % len(CODECS)], EXITS[(d + t // 2) % len(EXITS)], CHANNELS[(d + t) % 5])
    for d, defence in enumerate(("", *DEFENCES, *CHAINS))
    for t, threat in enumerate(PRESETS)
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
