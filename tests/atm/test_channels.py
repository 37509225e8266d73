"""Every channel against theory: SNR, fading distribution, bursts, delays, and the error rate of QPSK."""

from __future__ import annotations

import importlib.util
import math
import sys
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from scipy import stats

import atm.sionna_phy
from atm import channels
from atm.channels import CHANNELS, Channel, Received
from atm.channels.tdl import SPACING_HZ, SUBCARRIERS
from atm.codec import UncodedAnalog
from atm.digital import DigitalCodec
from atm.errors import AtmError
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import load
from tests.atm.models import random_tokens, tiny_encoder

IMAGES = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))
EXAMPLES = ["noiseless", "awgn:10", "rayleigh:10", "rician:10", "burst:10", "tdl-a:10", "tdl-d:10,speed=0"]
EXAMPLES += ["rayleigh:10,csi=no", "rician:10,k=3,csi=no", "burst:10,rate=0.2,length=8,csi=no", "tdl-c:10,csi=no"]


def dice(seed=0):
    return torch.Generator().manual_seed(seed)


def qpsk(frames, symbols, seed=0):
    bits = torch.randint(0, 2, (frames, symbols, 2), generator=dice(seed)).float()
    return torch.view_as_complex((1 - 2 * bits) / math.sqrt(2))


def symbol_errors(sent, received):
    return ((sent.real * received.real < 0) | (sent.imag * received.imag < 0)).double()


def one_frame_each(symbols):
    return torch.ones(len(symbols), dtype=torch.long)


@pytest.mark.parametrize("text", EXAMPLES)
def test_a_channel_survives_its_own_text(text):
    channel = channels.parse(text)
    assert channels.parse(str(channel)) == channel


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rayleigh", "rayleigh:10"), ("rayleigh:ten", "no SNR"), ("rayleigh:10,k=3", "did you mean|choose one of csi"),
        ("awgn:10,csi=no", "only an SNR"), ("rician:10,k=-1", "at least 0"), ("rician:10,k=inf", "expected a number"),
        ("rician:10,csi=maybe", "yes or no"), ("burst:10,rate=1", r"\[0, 1\)"), ("burst:10,length=1", "at least 1.1"),
        ("tdl-a:10,spread=5000", "prefix"), ("tdl-a:10,speed=-1", "at least 0"), ("tdl-f:10", "did you mean"),
    ],
)  # fmt: skip
def test_bad_parameters_are_one_clear_error(text, says):
    with pytest.raises(AtmError, match=says):
        channels.parse(text)


@pytest.mark.parametrize("text", EXAMPLES)
def test_the_same_generator_gives_the_same_channel(text):
    channel, symbols, lengths = channels.parse(text), qpsk(9, 7), torch.tensor([4, 2, 3])
    state = torch.get_rng_state()
    first = channel.carry(symbols, dice(3), lengths)
    assert torch.equal(torch.get_rng_state(), state), "the caller's global generator is not touched"
    again = channel.carry(symbols, dice(3), lengths)
    assert torch.equal(first.symbols, again.symbols)
    assert text == "noiseless" or not torch.equal(first.symbols, channel.carry(symbols, dice(4), lengths).symbols)


@pytest.mark.parametrize("text", EXAMPLES)
def test_gradients_pass_through(text):
    symbols = qpsk(6, 5).requires_grad_()
    channel = channels.parse(text)
    channel(symbols, dice(), torch.tensor([2, 4])).abs().square().sum().backward()
    reached = symbols.grad.abs() > 0
    assert reached.float().mean() > 0.5 and symbols.grad.isfinite().all()


@pytest.mark.parametrize("text", [t for t in EXAMPLES if t.endswith("csi=no") and not t.startswith("burst")])
@pytest.mark.parametrize("power", [1.0, 0.0])
def test_the_mean_snr_is_the_one_named(text, power):
    sent = qpsk(3000, 20) * power
    heard = channels.parse(text)(sent, dice(), one_frame_each(sent))
    wanted = power + 0.1  # E|h|^2 = 1, and noise 10 dB below
    per_frame = heard.abs().square().mean(1).double()
    assert abs(float(per_frame.mean()) - wanted) < 4 * float(per_frame.std()) / math.sqrt(len(sent))


@pytest.mark.parametrize(
    ("text", "law"),
    [
        ("rayleigh:0", stats.rayleigh(scale=math.sqrt(0.5))),
        ("rician:0,k=0", stats.rayleigh(scale=math.sqrt(0.5))),
        ("rician:0,k=3", stats.rice(math.sqrt(2 * 3), scale=math.sqrt(1 / (2 * 4)))),
    ],
)
def test_fading_has_its_distribution(text, law):
    gains = channels.parse(text).gains(20_000, torch.zeros(1, dtype=torch.complex64), dice())
    assert stats.kstest(gains.abs().numpy(), law.cdf).pvalue > 0.01
    wrong = stats.rice(math.sqrt(2 * 2), scale=math.sqrt(1 / (2 * 3)))
    assert stats.kstest(gains.abs().numpy(), wrong.cdf).pvalue < 1e-6, "the test can fail"
    power = gains.abs().square().double()
    assert abs(float(power.mean()) - 1) < 4 * float(power.std()) / math.sqrt(len(power))


def test_an_image_is_one_block_of_fading():
    lengths = torch.tensor([3, 1, 4])
    heard = channels.parse("rayleigh:200,csi=no")(torch.ones(8, 5, dtype=torch.complex64), dice(), lengths)
    blocks = heard.split(lengths.tolist())
    for block in blocks:
        torch.testing.assert_close(block, block[:1, :1].expand_as(block))
    assert len({complex(block[0, 0]) for block in blocks}) == 3


@pytest.mark.parametrize("snr_db", [0.0, 5.0, 8.0])
def test_qpsk_on_awgn_errs_as_often_as_theory_says(snr_db):
    sent = qpsk(1000, 200)
    errors = symbol_errors(sent, channels.parse(f"awgn:{snr_db}")(sent, dice(1)))
    tail = stats.norm.sf(math.sqrt(10 ** (snr_db / 10)))
    expected = 2 * tail - tail**2  # Proakis, Digital Communications, eq. 4.3-15
    assert abs(float(errors.mean()) - expected) < 4 * math.sqrt(expected / errors.numel())


@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_qpsk_on_rayleigh_errs_as_often_as_theory_says(snr_db):
    sent = qpsk(40_000, 10)
    heard = channels.parse(f"rayleigh:{snr_db}")(sent, dice(1), one_frame_each(sent))
    wrong = (sent.real * heard.real < 0).double().mean(1)  # one bit of the two: closed form, Proakis eq. 13.3-7
    gamma = 10 ** (snr_db / 10) / 2
    expected = (1 - math.sqrt(gamma / (1 + gamma))) / 2
    assert abs(float(wrong.mean()) - expected) < 4 * float(wrong.std()) / math.sqrt(len(wrong))
    blind = channels.parse(f"rayleigh:{snr_db},csi=no")(sent, dice(1), one_frame_each(sent))
    assert float(symbol_errors(sent, blind).mean()) == pytest.approx(0.75, abs=0.02), "without the phase, a guess"


def test_the_receiver_knows_the_snr_of_every_frame():
    sent = qpsk(2000, 100)
    received = channels.parse("rayleigh:10").carry(sent, dice(), one_frame_each(sent))
    measured = (received.symbols - sent).abs().square().mean(1)
    ratio = measured * 10 ** (received.snr_db[:, 0] / 10)
    assert float(ratio.mean()) == pytest.approx(1, abs=0.01) and float(ratio.std()) == pytest.approx(0.1, abs=0.02)
    _, per_image = received.per_image(one_frame_each(sent))
    torch.testing.assert_close(per_image, received.snr_db[:, 0], atol=1e-2, rtol=1e-4)


@pytest.mark.parametrize("text", ["burst:10,rate=0.3,length=5", "tdl-a:10"])
def test_the_snr_of_an_image_is_what_its_symbols_have(text):
    sent = qpsk(64 * 40, 32)
    symbols, snr_db = channels.parse(text).carry(sent, dice(), torch.full((40,), 64)).per_image(torch.full((40,), 64))
    noise = (symbols - sent).abs().square().view(40, -1).mean(1)
    per_image = 10 * torch.log10(1 / noise)
    assert float((per_image - snr_db).mean()) == pytest.approx(0, abs=0.2)
    assert per_image.std() > 0.1 and torch.corrcoef(torch.stack([per_image, snr_db]))[0, 1] > 0.9


@pytest.mark.parametrize(("rate", "length"), [(0.1, 16.0), (0.4, 3.0), (0.5, 2.0)])
def test_bursts_have_their_rate_and_geometric_lengths(rate, length):
    channel = channels.parse(f"burst:10,rate={rate},length={length}")
    lost = channel.lost(torch.zeros(1, 400_000, dtype=torch.complex64), dice())[0].int()
    edges = torch.diff(lost)
    starts, ends = (edges == 1).nonzero()[:, 0], (edges == -1).nonzero()[:, 0]
    ends = ends[ends > starts[0]]
    bursts = (ends - starts[: len(ends)]).double()
    assert abs(float(bursts.mean()) - length) < 4 * math.sqrt(length * (length - 1) / len(bursts))
    # Variance of the share of a two-state chain: correlation between neighbours is 1 - p - r.
    memory = 1 - 1 / length - rate / (1 - rate) / length
    spread = math.sqrt(rate * (1 - rate) * (1 + memory) / (1 - memory) / len(lost))
    assert abs(float(lost.double().mean()) - rate) < 4 * spread
    law = stats.geom(1 / length)
    edges = range(1, max(4, int(2 * length)))
    observed = [int((bursts == n).sum()) for n in edges] + [int((bursts > edges[-1]).sum())]
    expected = [len(bursts) * law.pmf(n) for n in edges] + [len(bursts) * law.sf(edges[-1])]
    assert stats.chisquare(observed, expected).pvalue > 0.001


def test_every_frame_begins_in_the_stationary_distribution():
    channel = channels.parse("burst:10,rate=0.3,length=50")
    lost = channel.lost(torch.zeros(20_000, 4, dtype=torch.complex64), dice(), torch.ones(20_000, dtype=torch.long))
    for place in range(4):
        assert abs(float(lost[:, place].float().mean()) - 0.3) < 4 * math.sqrt(0.21 / 20_000)
    stays = lost[:, 1][lost[:, 0]].float()
    assert abs(float(stays.mean()) - 0.98) < 4 * math.sqrt(0.98 * 0.02 / len(stays))


def test_a_receiver_that_knows_of_losses_takes_them_for_zero():
    sent = qpsk(50, 40)
    told, guessing = channels.parse("burst:10"), channels.parse("burst:10,csi=no")
    lost = told.lost(sent, dice(5))
    assert (told(sent, dice(5))[lost] == 0).all() and (guessing(sent, dice(5))[lost] != 0).all()
    torch.testing.assert_close(told(sent, dice(5))[~lost], guessing(sent, dice(5))[~lost])


@pytest.mark.parametrize("profile", "abcde")
def test_a_tapped_delay_line_has_its_power_delay_profile(profile):
    """The mean product of two subcarriers' gains is the Fourier transform of the profile (Wiener-Khinchin)."""
    channel = channels.parse(f"tdl-{profile}:10,spread=100")
    gains = channel.response(3000, 1, dice())[:, 0].to(torch.complex128)
    assert gains.shape == (3000, SUBCARRIERS)
    model = channel.model()
    powers, delays = model.mean_powers.double(), model.delays.double()
    assert float(powers.sum()) == pytest.approx(1, abs=1e-5)
    mean = float((powers * delays).sum())
    assert math.sqrt(float((powers * (delays - mean) ** 2).sum())) == pytest.approx(100e-9, rel=0.02)
    for apart in (0, 8, 40, 120):
        measured = (gains[:, apart:] * gains[:, : SUBCARRIERS - apart].conj()).mean(1)
        expected = (powers * torch.exp(-2j * math.pi * apart * SPACING_HZ * delays)).sum()
        error = abs(complex(measured.mean() - expected))
        assert error < 4 * float(measured.abs().std() + 0.02) / math.sqrt(len(gains)), apart


def test_taps_stand_still_without_speed_and_move_with_it():
    still = channels.parse("tdl-a:10,speed=0").response(20, 8, dice())
    torch.testing.assert_close(still, still[:, :1].expand_as(still))
    moving = channels.parse("tdl-a:10,speed=30").response(20, 8, dice())
    assert float((moving[:, 7] - moving[:, 0]).abs().mean()) > 0.1


@pytest.mark.parametrize("make", [lambda: channels.parse("tdl-a:10"), lambda: DigitalCodec(24)])
def test_without_sionna_there_is_one_clear_error(monkeypatch, make):
    monkeypatch.setitem(sys.modules, "sionna", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AtmError, match=r"\.\[sionna\]"):
        make()


def test_a_broken_sionna_is_one_clear_error(monkeypatch):
    channel = channels.parse("tdl-a:10")
    monkeypatch.setitem(sys.modules, "sionna.phy.channel", None)
    with pytest.raises(AtmError, match="cannot be loaded"):
        channel(qpsk(2, 2), dice())


def test_loading_sionna_leaves_the_callers_random_numbers_alone(monkeypatch):
    def reseeds(name):  # as the real import does, which happens once in a process
        torch.manual_seed(1)
        return name

    monkeypatch.setattr(atm.sionna_phy.importlib, "import_module", reseeds)
    torch.manual_seed(7)
    first = torch.rand(3)
    torch.manual_seed(7)
    assert atm.sionna_phy.sionna("mapping") == "sionna.phy.mapping"
    assert torch.equal(torch.rand(3), first)


def test_a_stranger_adds_a_channel_as_one_class(monkeypatch):
    @dataclass(frozen=True)
    class Loud(Channel):
        name: ClassVar[str] = "loud"
        snr_db: float
        gain: float = 2.0

        def carry(self, symbols, generator=None, lengths=None):
            return Received(symbols * self.gain, self.snr_db)

    monkeypatch.setitem(CHANNELS, "loud", Loud)
    channel = channels.parse("loud:10,gain=3")
    assert str(channel) == "loud:10,gain=3" and channel(torch.ones(1, 1)).item() == 3


@pytest.mark.parametrize("text", EXAMPLES)
def test_a_link_runs_over_every_channel(text):
    system = Link(tiny_encoder(), MergePolicy.uniform(0.5, 3), channel=channels.parse(text))
    whole = system.transmit(IMAGES, 3)
    assert whole.received.values.isfinite().all() and whole.logits.shape == (5, 5)
    parts = system.transmit(IMAGES, 3, batch=2)
    assert len(parts) == 5
    seen = load("eavesdropper:rayleigh:0,csi=no").observe(whole, system, 1)
    assert seen.snr_db == 0 and not torch.equal(seen.symbols, whole.received_symbols)
    faded = load("eavesdropper:rayleigh:0").observe(whole, system, 1)
    assert faded.snr_db.shape == (5,)


def test_a_white_box_attack_differentiates_through_fading():
    system = Link(tiny_encoder(), MergePolicy.uniform(1.0, 3), channel=channels.parse("tdl-a:10"))
    images = IMAGES.clone().requires_grad_()
    system.forward(images, dice()).received.values.square().sum().backward()
    assert float(images.grad.abs().sum()) > 0


def test_uncoded_tokens_survive_strong_fading():
    tokens = random_tokens([4, 9, 2])
    codec = UncodedAnalog(5)
    symbols, side = codec.encode(tokens, 60.0)
    received = channels.parse("rayleigh:80").carry(symbols, dice(), tokens.lengths)
    back, snr_db = received.per_image(tokens.lengths)
    torch.testing.assert_close(codec.decode(back, side, tokens, snr_db), tokens.values, atol=0.02, rtol=0.02)
