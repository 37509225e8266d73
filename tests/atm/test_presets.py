"""Every adversary that has a name: what she sees, what she is limited to, and that files say the same."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from atm.channels import Awgn
from atm.errors import AtmError, KnowledgeError
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import FEWEST, PRESETS, TAPS, Knowledge, ThreatModel, load
from attacks.ridge import Ridge
from attacks.session import Session
from tests.atm.models import tiny_encoder
from tests.attacks.planted import pictures

FLAGS = list(Knowledge.EVERYTHING)


def link() -> Link:
    return Link(tiny_encoder(), MergePolicy.uniform(0.8, 3), channel=Awgn(0))


@st.composite
def threats(draw: st.DrawFn) -> ThreatModel:
    knows = Knowledge.NOTHING
    for flag in draw(st.sets(st.sampled_from(FLAGS))):
        knows |= flag
    if Knowledge.ORDER not in knows:
        knows &= ~Knowledge.MERGE_MAP
    tap = draw(st.sampled_from(sorted(TAPS)))
    channel = draw(st.sampled_from([None, "awgn:5"])) if tap == "eavesdropper" else None
    limit = st.none() | st.integers(FEWEST, 10**6)
    name = draw(st.text(st.characters(categories=["L", "N"]), min_size=1))
    return ThreatModel(name, tap, knows, channel, draw(limit), draw(st.booleans()), draw(limit))


@settings(max_examples=50)
@given(threats())
def test_a_threat_model_survives_a_file(threat: ThreatModel) -> None:
    assert ThreatModel.from_dict(yaml.safe_load(yaml.safe_dump(threat.as_dict()))) == threat


@pytest.mark.parametrize("name", list(PRESETS))
def test_a_preset_survives_a_file_and_holds_what_it_grants(name: str, tmp_path) -> None:
    path = tmp_path / "threat.yaml"
    path.write_text(yaml.safe_dump(PRESETS[name].as_dict()))
    threat, system = load(str(path)), link()
    assert threat == PRESETS[name] == load(name)
    sent = system.transmit(pictures(3), 1)
    seen = threat.observe(sent, system, 2)
    assert (seen.tokens.sizes is not None) == (Knowledge.SIZES in threat.on(system).knows)
    assert (seen.tokens.source is not None) == (Knowledge.MERGE_MAP in threat.knows)
    assert (seen.snr_db is not None) == (Knowledge.SNR in threat.knows)
    if threat.tap == "server":
        same = torch.equal(seen.tokens.values, sent.received.values)
        assert same == (Knowledge.ORDER in threat.knows)
    told = [f"{number:,} " for number in (threat.auxiliary, threat.queries) if number is not None]
    assert all(number in threat.describe() for number in told)


def test_before_the_codec_there_is_no_noise_and_nothing_on_the_air() -> None:
    system = link()
    sent = system.transmit(pictures(3), 1)
    seen = PRESETS["before-codec"].observe(sent, system, 2)
    assert torch.equal(seen.tokens.values, sent.sent.values)
    assert seen.symbols.shape == (len(sent.sent.values), 0) and seen.snr_db == math.inf
    assert len(seen.select(torch.tensor([1, 2]))) == 2


def test_before_the_codec_ridge_leaks_at_least_what_it_leaks_at_the_server() -> None:
    auxiliary, victims, errors = pictures(200), pictures(20, seed=1), {}
    for name in ("server", "before-codec"):
        system, attack, threat = link(), Ridge(), PRESETS[name]
        session = Session(system, threat, auxiliary)
        attack.fit(session.oracle())
        rebuilt = attack.reconstruct(session.victims(victims)[1])
        errors[name] = float((rebuilt - victims).square().mean())
    assert errors["before-codec"] < errors["server"]


def test_queries_are_counted_per_session_and_what_was_sent_is_not_sent_again() -> None:
    threat, system, images = replace(PRESETS["black-box"], queries=20), link(), pictures(40)
    oracle = Session(system, threat, images[:20]).oracle()
    for _ in range(2):
        assert len(oracle.observe()) == 20
    with pytest.raises(KnowledgeError, match="'black-box' allows 20 queries, and 21 images were sent"):
        oracle.tap(images[20:21])
    assert len(Session(system, threat, images[20:]).oracle().observe()) == 20, "another session, another count"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"auxiliary": 0}, "auxiliary is 0, give 20 or more"),
        ({"queries": "many"}, "queries is 'many', expected a whole number"),
        ({"shifted": 1}, "shifted is 1, expected true or false"),
        ({"tap": "before-codec", "channel": "awgn:5"}, "only an eavesdropper has a channel"),
        ({"querys": 5}, "did you mean 'queries'"),
    ],
)
def test_a_wrong_limit_is_one_line(content: dict, message: str) -> None:
    with pytest.raises(AtmError, match=message):
        ThreatModel.from_dict(content)
