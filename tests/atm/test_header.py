"""Headers as bits: as many as the table counts, and what a receiver reads of them is what it is delivered."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atm.errors import AtmError
from atm.header import Header, HeaderError, chosen_of, rank
from atm.wire import HEADER_BITS_PER_SYMBOL, Wire
from defenses.learned import Learned
from tests.atm.models import random_tokens
from tests.systems import CHAINS, DEFENCES, VICTIMS, pictures, refused, system

SYSTEMS = [(defence, victim) for victim in VICTIMS for defence in ("", *DEFENCES, *CHAINS)
           if not refused(defence, victim) and "drop" not in defence.partition("pad")[2]]  # fmt: skip


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch):
    monkeypatch.setattr(Learned, "rounds", 1)


@pytest.mark.parametrize("exit_layer", [1, 2])
@pytest.mark.parametrize(("defence", "victim"), SYSTEMS)
def test_a_header_has_the_bits_that_are_claimed_and_tells_what_is_delivered(defence, victim, exit_layer):
    link = system(defence, "uncoded", exit_layer, victim)
    sent = link.transmit(pictures(5))
    claimed, delivered = link.wire.header_symbols(sent.sent, sent.side), link.wire.delivered(sent.sent)
    patches = link.encoder.patch_grid[0] * link.encoder.patch_grid[1]
    header = Header(link.wire, sent.sent.prefix, patches, sent.side.shape[1])
    for image in range(5):
        side, own = sent.side[image : image + 1], delivered.select([image])
        data, bits = header.write(sent.sent.select([image]), side)
        assert len(data) == math.ceil(bits / 8) <= header.most_bytes
        assert math.ceil(bits / HEADER_BITS_PER_SYMBOL) == claimed[image]
        got, got_side, counted = header.read(data, own.counts[0])
        assert counted == bits and torch.equal(got_side, side) and got.lengths.tolist() == own.counts
        assert (got.sizes is None) == (own.sizes is None) and (got.places is None) == (own.places is None)
        if own.sizes is not None:
            assert torch.equal(got.sizes, own.sizes)
        if own.places is not None:
            real = slice(0, own.counts[0]) if own.padding is None else ~own.padding
            assert torch.equal(got.places[real], own.places[real])


@given(st.sets(st.integers(0, 11)))
def test_sets_are_numbered_without_gaps(chosen):
    ordered = sorted(chosen)
    every = sorted(combinations(range(12), len(ordered)), key=lambda each: each[::-1])
    assert every[rank(ordered)] == tuple(ordered)
    assert chosen_of(rank(ordered), len(ordered)) == ordered


@settings(max_examples=50)
@given(st.sets(st.integers(0, 4000), max_size=300))
def test_large_sets_come_back(chosen):
    assert chosen_of(rank(sorted(chosen)), len(chosen)) == sorted(chosen)


@settings(max_examples=300)
@given(st.binary(max_size=40), st.integers(-3, 40), st.tuples(*[st.booleans()] * 5))
def test_foreign_bytes_are_read_or_refused_and_what_is_read_is_written_again(data, total, flags):
    side, sizes, padding, places, drops = flags
    wire = Wire.of(side=side, sizes=sizes, padding=padding, places=places, drops=drops)
    header = Header(wire, 1, 16, 2 if side else 0)
    try:
        tokens, numbers, bits = header.read(data, total)
    except HeaderError as error:
        assert "\n" not in str(error)
        return
    assert len(data) == math.ceil(bits / 8)
    held = tokens if tokens.sizes is not None else replace(tokens, sizes=torch.ones(total))
    assert header.write(held, numbers) == (data, bits)


def test_what_no_field_can_tell_is_refused():
    tokens = random_tokens([6])
    header = Header(Wire.of(side=False, sizes=True, padding=True, places=False), 1, tokens.source.shape[1], 0)
    nothing = torch.zeros(1, 0)
    with pytest.raises(AtmError, match="padding before"):
        header.write(replace(tokens, sizes=torch.tensor([1.0, 0, 1, 1, 1, 1])), nothing)
    with pytest.raises(AtmError, match="drops"):
        header.write(replace(tokens, sizes=torch.ones(6)), nothing)
    data, _ = header.write(tokens, nothing)
    for damaged in (data[:-1], data + b"\0", b"\xff" + data[1:]):
        with pytest.raises(HeaderError):
            header.read(damaged, 6)
    with pytest.raises(HeaderError):
        header.read(data, 7)
