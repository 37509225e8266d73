"""The digital codec: its quantiser against theory, its code's cliff, and what a user may ask for."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy import integrate
from scipy.stats import norm

from atm import channels
from atm.codec import Codec
from atm.codecs import load_codec
from atm.digital import MODES, DigitalCodec, allocate, blocks, centroids, parse
from atm.errors import AtmError
from atm.link import Link
from atm.policy import MergePolicy
from atm.victims import load_victim
from tests.atm.models import random_tokens

TOKENS = random_tokens([40, 7, 64, 33, 12, 50, 28], width=24)


def codec(snr_db: float = 10.0) -> DigitalCodec:
    made = DigitalCodec(24, 32, snr_db)
    made.fit_to(TOKENS.values)
    return made


def error(made: DigitalCodec, channel: str, seed: int = 0) -> float:
    symbols, side = made.encode(TOKENS, made.mode.snr_db)
    heard = channels.parse(channel).carry(symbols, torch.Generator().manual_seed(seed), TOKENS.lengths)
    values = made.decode(heard.symbols, side, TOKENS, heard.snr_db)
    return float((values - TOKENS.values).square().mean() / TOKENS.values.var())


def test_it_is_a_codec_of_unit_power_at_the_rate_asked_for():
    made: Codec = codec()
    symbols, side = made.encode(TOKENS, 10.0)
    assert symbols.shape == (234, 32) and side.shape == (7, 0)
    assert float(symbols.abs().square().mean()) == pytest.approx(1, abs=0.02)
    assert made.payload == int(32 * 4 * 2 / 3)


@pytest.mark.parametrize("snr_db", [0.0, 4.5, 10.0, 18.0])
def test_above_its_snr_only_the_quantisation_is_lost_and_below_it_fails(snr_db):
    made = codec(snr_db)
    lossless, above, below = (error(made, c) for c in ("noiseless", f"awgn:{snr_db + 1}", f"awgn:{snr_db - 4}"))
    assert above == pytest.approx(lossless, rel=1e-6)
    assert below > lossless + 0.3, "a cliff"


def test_the_slope_of_the_uncoded_and_the_cliff_of_the_digital():
    """Each dB costs the digital codec nothing above its SNR, and nearly all within the next three below."""
    made = codec(10.0)
    errors = {snr: error(made, f"awgn:{snr}") for snr in (20, 12, 11, 7)}
    assert errors[20] == errors[12] == errors[11] < 0.15 < 0.4 < errors[7]


def test_more_snr_buys_finer_quantisation():
    errors = [error(codec(mode.snr_db), "noiseless") for mode in MODES[1:]]
    assert errors == sorted(errors, reverse=True) and errors[-1] < errors[0] / 4


def test_it_weighs_symbols_by_their_own_snr():
    made = codec(4.5)
    symbols, side = made.encode(TOKENS, 4.5)
    heard = channels.parse("tdl-a:9").carry(symbols, torch.Generator().manual_seed(0), TOKENS.lengths)
    _, per_image = heard.per_image(TOKENS.lengths)
    told = made.decode(heard.symbols, side, TOKENS, heard.snr_db)
    untold = made.decode(heard.symbols, side, TOKENS, per_image)
    errors = [float((values - TOKENS.values).square().mean()) for values in (told, untold)]
    assert errors[0] < 0.9 * errors[1]


def test_one_quantised_gaussian_has_the_error_that_theory_gives():
    made = DigitalCodec(24, 32, 10.0)
    made.bits.copy_(torch.tensor([1, 2, 3] + [0] * 21))
    values = torch.randn(200_000, 24, generator=torch.Generator().manual_seed(0))
    back = made._dequantise(made._quantise(values))
    for axis, bits in enumerate((1, 2, 3, 0)):
        edges = norm.ppf([i / 2**bits for i in range(2**bits + 1)])
        cells = [integrate.quad(lambda x: x * norm.pdf(x), a, b)[0] for a, b in itertools.pairwise(edges)]
        expected = 1 - sum(cell**2 * 2**bits for cell in cells)  # variance less that of the centroids
        assert float((back - values)[:, axis].square().mean()) == pytest.approx(expected, abs=0.01)
    assert centroids(1)[1].item() == pytest.approx(math.sqrt(2 / math.pi), rel=1e-5)


def test_bits_go_where_they_reduce_the_error_most():
    variances = torch.tensor([9.0, 2.5, 0.7, 0.1])

    def distortion(bits):
        return sum(v * 4.0**-b for v, b in zip(variances.tolist(), bits, strict=True))

    best = min((b for b in itertools.product(range(6), repeat=4) if sum(b) == 7), key=distortion)
    assert distortion(allocate(variances, 7).tolist()) == pytest.approx(distortion(best))
    assert int(allocate(torch.ones(3), 100).sum()) == 24


def test_a_budget_beyond_what_the_axes_take_is_padded():
    made = DigitalCodec(4, 64, 22.0)
    values = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    assert made._quantise(values).shape == (5, made.payload) and made.payload > 32
    torch.testing.assert_close(made._dequantise(made._quantise(values)), values, atol=0.1, rtol=0.05)


def test_blocks_cover_every_token_once_and_never_two_images():
    found = blocks(TOKENS, 32)
    rows = torch.cat([part.flatten() for part in found.values()])
    assert sorted(rows.tolist()) == list(range(234)) and max(found) <= 32
    for part in found.values():
        assert all(len(set(TOKENS.image_of_token[block].tolist())) == 1 for block in part)


@pytest.mark.parametrize("text", ["digital:x", "digital:10,symbols=-3", "digital:10,bits=3", "digital:0,symbols=4"])
def test_a_bad_digital_codec_is_one_clear_error(text):
    with pytest.raises(AtmError, match="digital"):
        parse(text.partition(":")[2], 24)


def test_a_victim_runs_over_it():
    victim = load_victim("vit_photos")
    made, digest = load_codec("digital:10", victim)
    assert len(digest) == 64 and int(made.bits.sum()) == made.payload
    link = Link(victim.encoder, MergePolicy.uniform(0.8, 6), made, channels.parse("tdl-a:20"))
    images = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    sent, again = link.transmit(images, 1), link.transmit(images, 1, batch=2)
    assert sent.logits.isfinite().all() and (sent.symbols - sent.header).tolist() == [32 * n for n in sent.sent.counts]
    assert again.snr_db.shape == again.received_symbols.shape
