"""Averages over frames of a still scene: what they must equal, and that more frames leak more where noise hides."""

from __future__ import annotations

from functools import reduce

import pytest
import torch

from atm import channels
from atm.threat import load
from benchmarks.still import AVERAGES, listen, of_symbols, of_tokens, scores, table
from tests.systems import pictures, system


@pytest.fixture(scope="module")
def link():
    return system("", "uncoded", 1, "absolute", "awgn:10")


def test_one_frame_is_its_own_average(link):
    threat = load("eavesdropper:awgn:5").on(link)
    heard = listen(link, threat, link.encode(pictures(4)), 1, 0)
    for average in AVERAGES.values():
        torch.testing.assert_close(average(heard, link).tokens.values, heard[0].tokens.values)


def test_the_average_of_symbols_is_what_a_better_antenna_hears(link):
    threat = load("eavesdropper:awgn:0").on(link)
    encoded = link.encode(pictures(8))
    heard = listen(link, threat, encoded, 100, 0)
    assert not torch.equal(heard[0].symbols, heard[1].symbols), "each frame has its own noise"
    clean = link.transmit(encoded)
    noise = reduce(torch.add, [each.symbols for each in heard]) / 100 - clean.on_air
    assert float(noise.abs().square().mean()) == pytest.approx(0.01, rel=0.05)
    decoded = of_symbols(heard, link).tokens.values
    # An uncoded value is linear in its symbols, so that both averages are the same.
    torch.testing.assert_close(decoded, of_tokens(heard, link).tokens.values, rtol=1e-3, atol=1e-3)


def test_more_frames_leak_more_where_noise_hides_and_nothing_changes_without_noise(link):
    hers, victims = pictures(150, 1), pictures(20, 2)
    noisy = list(scores(link, load("eavesdropper:awgn:-5").on(link), hers, victims, (1, 16), 0))
    found = {(count, name): float(values.mean()) for count, name, values in noisy}
    assert all(found[16, name] > found[1, name] + 0.05 for name in AVERAGES)
    again = list(scores(link, load("eavesdropper:awgn:-5").on(link), hers, victims, (1, 16), 0))
    assert all(torch.equal(a[2], b[2]) for a, b in zip(noisy, again, strict=True))
    still = link.over(channels.parse("noiseless"))
    plain = {
        (count, name): values
        for count, name, values in scores(still, load("eavesdropper").on(still), hers, victims, (1, 4), 0)
    }
    torch.testing.assert_close(plain[1, "tokens"], plain[4, "tokens"], rtol=0, atol=1e-3)


def test_a_table_has_a_row_for_each_number_of_frames():
    row = {"policy": "none", "channel": "awgn:0", "ssim": 0.5, "ssim_low": 0.4, "ssim_high": 0.6, "recognised": 3,
           "pictures": 9}  # fmt: skip
    found = [{**row, "frames": count, "averaged": name} for count in (1, 2) for name in AVERAGES]
    lines = table(found).splitlines()
    assert len(lines) == 4 and lines[2].startswith("| none | `awgn:0` | 1 | 0.500 [0.400, 0.600] | 3 of 9 |")
