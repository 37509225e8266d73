"""Channel, codecs and threat models."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import attacks
from atm import channels
from atm.channels import Awgn
from atm.codec import UncodedAnalog, unit_power
from atm.errors import AtmError, KnowledgeError
from atm.jscc import JsccCodec
from atm.link import Link
from atm.policy import MergePolicy
from atm.signals import TextSignal
from atm.threat import Knowledge, ThreatModel, load
from attacks.session import Session
from tests.atm.models import random_tokens, tiny_encoder

IMAGES = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0])
def test_awgn_has_the_snr_it_names(snr_db):
    symbols = torch.randn(20_000, 4, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    noise = Awgn(snr_db)(symbols, torch.Generator().manual_seed(1)) - symbols
    assert 10 * math.log10(1 / float(noise.abs().square().mean())) == pytest.approx(snr_db, abs=0.1)
    assert float(noise.real.var() / noise.imag.var()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("codec", [UncodedAnalog(5), JsccCodec(5, (3, 2), 32)])
def test_symbols_have_unit_average_power_for_every_image(codec):
    tokens = random_tokens([4, 9, 2])
    symbols, _ = codec.encode(tokens, 10.0)
    power = torch.stack([s.abs().square().mean() for s in symbols.split(tokens.counts)])
    torch.testing.assert_close(power, torch.ones(3), atol=1e-4, rtol=0)


def test_uncoded_tokens_survive_a_noiseless_link():
    tokens = random_tokens([4, 9, 2])
    codec = UncodedAnalog(5)
    symbols, side = codec.encode(tokens, math.inf)
    torch.testing.assert_close(codec.decode(symbols, side, tokens, math.inf), tokens.values)


def test_unit_power_of_a_silent_image_is_finite():
    tokens = random_tokens([3, 3])
    symbols, _ = unit_power(torch.zeros(6, 2, dtype=torch.complex64), tokens)
    assert symbols.isfinite().all()


@given(st.text(max_size=12))
def test_a_bad_channel_is_one_clear_error(text):
    try:
        channels.parse(text)
    except AtmError as error:
        assert "\n" not in str(error).replace(text, "")


@pytest.mark.parametrize("text", ["awgn", "awgn:", "awgn:nan", "awgn:inf", "awgn:ten", "noiseless:3", "agwn:10"])
def test_bad_channels_are_refused(text):
    with pytest.raises(AtmError):
        channels.parse(text)


def link(channel="noiseless"):
    return Link(tiny_encoder(), MergePolicy.uniform(0.5, 3), channel=channels.parse(channel))


def test_the_same_seed_gives_the_same_transmission():
    system = link("awgn:5")
    first, again, other = system.transmit(IMAGES, 3), system.transmit(IMAGES, 3), system.transmit(IMAGES, 4)
    assert torch.equal(first.received.values, again.received.values)
    assert not torch.equal(first.received.values, other.received.values)


def test_batches_make_one_transmission():
    whole, parts = link().transmit(IMAGES, batch=5), link().transmit(IMAGES, batch=2)
    torch.testing.assert_close(whole.logits, parts.logits, atol=1e-5, rtol=1e-4)
    assert whole.sent.counts == parts.sent.counts
    assert (whole.symbols - whole.header).tolist() == [n * 12 for n in whole.sent.counts] and whole.header.min() > 0
    assert torch.equal(whole.header, parts.header)


def test_an_observation_holds_only_what_the_threat_model_grants():
    system = link()
    transmission = system.transmit(IMAGES)
    blind = ThreatModel("blind", knows=Knowledge.WEIGHTS).observe(transmission, system)
    assert blind.tokens.source is None and blind.tokens.sizes is None and blind.snr_db is None
    told = ThreatModel("told").observe(transmission, system)
    assert told.tokens.source is not None and told.snr_db == math.inf


def test_an_eavesdropper_with_a_worse_channel_sees_worse_tokens():
    system = link("awgn:20")
    transmission = system.transmit(IMAGES)

    def error(threat):
        return float((threat.observe(transmission, system, 1).tokens.values - transmission.sent.values).square().mean())

    assert error(load("eavesdropper:awgn:0")) > 10 * error(load("server"))
    assert error(load("eavesdropper")) == pytest.approx(error(load("server")), rel=0.5)
    assert not torch.equal(
        load("eavesdropper").observe(transmission, system, 1).symbols, transmission.received_symbols
    ), "her noise is her own"


def test_a_stranger_without_the_codec_sees_only_symbols():
    system = link("awgn:20")
    transmission = system.transmit(IMAGES)
    seen = load("stranger").observe(transmission, system, 1)
    assert torch.equal(seen.tokens.values, torch.view_as_real(seen.symbols).flatten(1))
    ridge = attacks.create("ridge")
    auxiliary = torch.rand(40, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    ridge.fit(Session(system, load("stranger"), auxiliary).oracle())
    assert ridge.reconstruct(seen).shape == IMAGES.shape
    with pytest.raises(KnowledgeError, match="codec"):
        load("stranger").require(Knowledge.CODEC, "x")


def test_what_is_denied_is_named():
    with pytest.raises(KnowledgeError, match=r"attack 'x' needs .*weights.* 'blind' denies"):
        ThreatModel("blind", knows=Knowledge.AUXILIARY).require(Knowledge.WEIGHTS, "x")
    ThreatModel("all").require(Knowledge.EVERYTHING, "x")


def test_threat_models_survive_a_file(tmp_path):
    threat = ThreatModel("mine", "eavesdropper", Knowledge.WEIGHTS | Knowledge.SNR, "awgn:3")
    assert ThreatModel.from_dict(threat.as_dict()) == threat
    (tmp_path / "t.yaml").write_text("name: mine\ntap: server\nknows: [weights, sn]\n")
    with pytest.raises(AtmError, match="did you mean 'snr'"):
        load(str(tmp_path / "t.yaml"))
    assert "does not know" in threat.describe() and "patches" in threat.describe()
    of_text = ThreatModel("all", auxiliary=90, queries=1000).describe(TextSignal)
    assert not re.search("patch|image|picture", of_text) and "how many words each token" in of_text
    assert "has at most 90 auxiliary sentences. She can send at most 1,000 sentences through" in of_text
