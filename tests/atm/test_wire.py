"""What is on the wire: counted by brute force, delivered without the map, and seen only as the table says."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import defenses
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import Knowledge, ThreatModel
from atm.tokens import NOWHERE, TokenBatch
from atm.wire import ARRIVED, HEADER_BITS_PER_SYMBOL, PLACES, SIDE_BITS, SIZES, Wire
from tests.atm.models import tiny_encoder

IMAGES = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
NOTHING = torch.zeros(1, 0)
BARE = {"side": False, "sizes": False, "padding": False, "places": False}


def one_image(source: list[int], free: int, prefix: int = 1) -> TokenBatch:
    """An image of `free` patch tokens; `source` counts from 0, and `NOWHERE` is what was dropped."""
    own = torch.tensor([source])
    counts = torch.bincount(own[own != NOWHERE], minlength=free).float()
    shifted = torch.where(own == NOWHERE, NOWHERE, own + prefix)
    sizes = torch.cat([torch.ones(prefix), counts])
    return TokenBatch(torch.zeros(prefix + free, 2), torch.tensor([prefix + free]), sizes, shifted, prefix)


def bits_of(field: str, tokens: TokenBatch, side: torch.Tensor = NOTHING) -> int:
    (found,) = [f for f in Wire.of(**(BARE | {field: True})).fields if f.name == field]
    return int(found.bits(tokens, side)[0])


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=7), st.integers(0, 2))
def test_sizes_cost_what_it_takes_to_tell_all_divisions_apart(raw, prefix):
    holding = sorted({token for token in raw if token >= 0})
    source = [holding.index(token) if token >= 0 else NOWHERE for token in raw]
    arrived, tokens = sum(token >= 0 for token in raw), len(holding)
    ways = sum(sum(sizes) == arrived for sizes in product(range(1, arrived + 1), repeat=tokens)) if tokens else 1
    batch = one_image(source, max(tokens, 1), prefix)
    assert bits_of("sizes", batch) == math.ceil(math.log2(ways))


@given(st.integers(1, 8), st.data())
def test_places_cost_what_it_takes_to_tell_all_choices_apart(patches, data):
    free = data.draw(st.integers(1, patches))
    source = [*range(free), *[0] * (patches - free)]
    ways = len(list(combinations(range(patches), free)))
    assert bits_of("places", one_image(source, free)) == math.ceil(math.log2(ways))


def test_padding_costs_bits_but_is_no_size():
    tokens = one_image([0, 0, 1], 2)
    padded = replace(tokens, values=torch.zeros(5, 2), lengths=torch.tensor([5]), sizes=torch.tensor([1.0, 2, 1, 0, 0]))
    assert bits_of("sizes", padded) == bits_of("sizes", tokens) == 1
    assert bits_of("padding", padded) == math.ceil(math.log2(6))


def test_places_of_padding_cost_nothing():
    tokens = one_image([0, 0, 1], 2)
    sizes = torch.tensor([1.0, 2, 1, 0, 0, 0])
    padded = replace(tokens, values=torch.zeros(6, 2), lengths=torch.tensor([6]), sizes=sizes)
    assert bits_of("places", padded) == bits_of("places", tokens) == math.ceil(math.log2(3))


@pytest.mark.parametrize("defence", [None, "drop:0.5", "drop:0.5+gaussian:0.1", "pad:8"])
def test_where_tokens_are_dropped_sizes_come_with_how_many_patches_they_divide(defence):
    link = Link(tiny_encoder(global_pool="avg"), MergePolicy.uniform(0.4, 3))
    plain = link.transmit(IMAGES)
    if defence is not None:
        link = defenses.fitted(defenses.create(defence), link, IMAGES)
    assert (ARRIVED in link.wire.fields) == (defence is not None and "drop" in defence)
    assert ARRIVED.bits is not None
    assert ARRIVED.bits(plain.sent, plain.side).tolist() == [math.ceil(math.log2(16 + 1))] * 4
    assert ARRIVED not in Link(tiny_encoder(), MergePolicy.uniform(0.4, 3), defence=link.defence).wire.fields


@settings(max_examples=20)
@given(st.tuples(*[st.booleans()] * 4))
def test_a_header_is_the_sum_of_its_fields_and_the_length_is_always_there(flags):
    wanted = dict(zip(BARE, flags, strict=True))
    tokens, side = one_image([0, 0, 1, 2, 1], 3), torch.zeros(1, 2)
    bits = math.ceil(math.log2(1 + 5 + 1)) + sum(bits_of(name, tokens, side) for name, there in wanted.items() if there)
    assert Wire.of(**wanted).header_symbols(tokens, side).tolist() == [math.ceil(bits / HEADER_BITS_PER_SYMBOL)]
    assert bits_of("side", tokens, side) == 2 * SIDE_BITS


@settings(max_examples=20)
@given(st.tuples(*[st.booleans()] * 4))
def test_the_server_never_gets_the_map_and_the_rest_only_from_the_wire(flags):
    wanted = dict(zip(BARE, flags, strict=True))
    sent = replace(one_image([0, 0, 1], 3), sizes=torch.tensor([1.0, 2, 1, 0]), places=torch.arange(4))
    got = Wire.of(**wanted).delivered(sent)
    assert got.source is None
    assert (got.places is not None) == wanted["places"]
    if wanted["sizes"]:
        assert got.sizes.tolist() == [1, 2, 1, 0]
    elif wanted["padding"]:
        assert got.sizes.tolist() == [1, 1, 1, 0], "which tokens are padding, and no size"
    else:
        assert got.sizes is None


@pytest.mark.parametrize("pool", ["token", "avg"])
@pytest.mark.parametrize("proportional", [True, False])
@pytest.mark.parametrize("exit_layer", [2, None])
@pytest.mark.parametrize("threshold", [0.2, 1.0])
def test_sizes_are_on_the_wire_exactly_where_the_answer_needs_them(pool, proportional, exit_layer, threshold):
    encoder = tiny_encoder(global_pool=pool)
    policy = MergePolicy.uniform(threshold, 3, exit_layer=exit_layer)
    link = Link(encoder, replace(policy, proportional_attention=proportional))
    sent = link.transmit(IMAGES)
    there = SIZES in link.wire.fields
    assert there == (sent.received.sizes is not None)
    assert there == (threshold < 1 and (pool == "avg" or (proportional and exit_layer is not None)))
    received = sent.received
    counted = encoder.finish(replace(received, sizes=sent.sent.sizes), link.policy)
    uncounted = encoder.finish(replace(received, sizes=None), link.policy)
    torch.testing.assert_close(sent.logits, counted)
    assert there == bool((counted - uncounted).abs().max() > 1e-3), "and it would move without them"


@pytest.mark.parametrize("defence", [None, "pad:8"])
def test_bandwidth_is_symbols_and_header(defence):
    link = Link(tiny_encoder(global_pool="avg"), MergePolicy.uniform(0.4, 3))
    if defence is not None:
        link = defenses.fitted(defenses.create(defence), link, IMAGES)
    sent = link.transmit(IMAGES)
    assert torch.equal(sent.header, link.wire.header_symbols(sent.sent, sent.side)) and int(sent.header.min()) > 0
    assert torch.equal(sent.symbols, sent.sent.lengths * sent.on_air.shape[1] + sent.header)


@settings(max_examples=30)
@given(
    denied=st.sets(st.sampled_from(list(Knowledge.EVERYTHING))),
    tap=st.sampled_from(["server", "eavesdropper", "before-codec"]),
    pool=st.sampled_from(["token", "avg"]),
)
def test_what_is_denied_is_not_seen_unless_the_wire_tells_it(denied, tap, pool):
    less = Knowledge.NOTHING
    for flag in denied:
        less |= flag
    threat = ThreatModel("random", tap).without_knowledge(less)
    link = Link(tiny_encoder(global_pool=pool), MergePolicy.uniform(0.4, 3))
    sent = link.transmit(IMAGES)
    seen = threat.observe(sent, link)
    told = Knowledge.NOTHING if tap == "before-codec" else link.wire.tells
    assert (told == Knowledge.SIZES) == (pool == "avg" and tap != "before-codec")
    assert (seen.tokens.sizes is not None) == (Knowledge.SIZES in threat.knows | told)
    assert (seen.tokens.source is not None) == (Knowledge.MERGE_MAP in threat.knows)
    assert (seen.tokens.places is not None) == (PLACES in link.wire.fields and tap != "before-codec")
    assert (seen.snr_db is not None) == (Knowledge.SNR in threat.knows)
