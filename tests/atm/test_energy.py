"""PiToMe against a reference with loops, written from its paper's text."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from atm import energy
from atm.errors import AtmError
from atm.matching import Projected, merged
from atm.policy import MergePolicy
from tests.atm.models import random_tokens, tiny_encoder
from tests.systems import pictures

IMAGES = pictures(6, 3)


def reference(vectors, count, least):
    """Of one image's free tokens: (source, destination) pairs."""

    def cosine(a, b):
        return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))

    def felt(c):
        return c if c >= least else math.exp(c - least) - 1

    n = len(vectors)
    energies = [sum(felt(cosine(vectors[i], vectors[j])) for j in range(n)) / n for i in range(n)]
    ranked = sorted(range(n), key=lambda i: -energies[i])[: 2 * min(count, n // 2)]
    sources, destinations = ranked[0::2], ranked[1::2]
    return [(i, max(destinations, key=lambda j: cosine(vectors[i], vectors[j]))) for i in sources]


@settings(max_examples=80, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 13), min_size=1, max_size=4),
    prefix=st.integers(0, 2),
    count=st.integers(0, 7),
    least=st.floats(0, 0.9),
    seed=st.integers(0, 10_000),
)
def test_matches_are_those_of_the_reference(lengths, prefix, count, least, seed):
    lengths = [length + prefix for length in lengths if length != 2] or [prefix + 1]  # two are as like each other
    tokens = random_tokens(lengths, prefix, seed=seed)
    metric = torch.randn(sum(lengths), 4, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    found = energy.match(tokens, metric, count, least)
    wanted = []
    for image, begin in enumerate(tokens.offsets.tolist()):
        own = metric[begin + prefix : begin + lengths[image]]
        wanted += [(begin + prefix + i, begin + prefix + j, image) for i, j in reference(own, count, least)]
    assert list(zip(found.source.tolist(), found.destination.tolist(), found.image.tolist(), strict=True)) == wanted


def test_it_spares_what_is_like_nothing_else():
    crowd, single = torch.tensor([[1.0, 0.0, 0.0]]).repeat(6, 1), torch.eye(3)[1:]
    metric = torch.cat((torch.zeros(1, 3), crowd[:3], single[:1], crowd[3:], single[1:]))
    found = energy.match(random_tokens([9]), metric, 3, 0.5)
    assert len(found.source) == 3 and {*found.source.tolist(), *found.destination.tolist()} <= {1, 2, 3, 5, 6, 7}


@pytest.mark.parametrize("count", [1, 4])
def test_the_preset_runs_and_its_flops_are_what_torch_counts(count):
    encoder, policy = tiny_encoder(), MergePolicy.preset(f"pitome-{count}", 3)
    encoded = encoder(IMAGES, policy)
    expected = [17 - count * layer if count == 1 else max(17 - 4 * layer, 0) for layer in range(4)]
    assert encoded.layer_tokens[:, 0].tolist() == expected
    assert float(encoded.tokens.sizes.sum()) == len(IMAGES) * 17
    with FlopCounterMode(display=False) as counter:
        flops = encoder(IMAGES[:1], policy).flops
    assert float(flops[0]) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_margins_fall_with_depth_and_thresholds_have_no_energy():
    assert [energy.margin(layer, 3) for layer in range(4)] == pytest.approx([0.9, 0.6, 0.3, 0.0])
    with pytest.raises(AtmError, match="order energy needs numbers to remove"):
        MergePolicy.uniform(0.5, 3, order="energy")


@pytest.mark.parametrize("order", ["place", "energy"])
def test_survivors_keep_the_order_of_their_places(order):
    tokens = random_tokens([17, 17], prefix=1, width=8)
    tokens = replace(tokens, places=torch.arange(17).repeat(2))
    policy = MergePolicy((1.0,) * 3, remove=(4,) * 3, match="hidden", order=order)
    none = torch.zeros(len(tokens.values), 1, 1)
    left = merged(tokens, Projected(tokens.values, none, none), policy, 1)
    assert left.counts == [13, 13]
    assert all(bool((places.diff() > 0).all()) for places in left.places.split(left.counts))
