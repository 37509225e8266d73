"""Compiled loops against torch's operations: the same merges, image by image."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from atm import compiled, matching
from atm.maps import Maps
from atm.matching import Projected
from atm.policy import AVERAGES, SIMILARITIES, MergePolicy
from tests.atm.models import random_tokens, tiny_encoder

pytest.importorskip("numba", reason="needs the extra fast")
IMAGES = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def operations(monkeypatch):
    """Torch's operations, as without numba."""
    monkeypatch.setattr(compiled, "kernels", lambda: None)


def both(compute):
    """What compiled loops and torch's operations give, and that the first were asked at all."""
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        found = compute()
        patch.setattr(compiled, "kernels", lambda: None)
        return found, compute()


def same(found, wanted):
    assert found.counts == wanted.counts and torch.equal(found.source, wanted.source)
    torch.testing.assert_close(found.values, wanted.values, atol=1e-6, rtol=1e-5)
    assert torch.equal(found.sizes, wanted.sizes)
    assert (found.places is None) == (wanted.places is None)
    assert found.places is None or torch.equal(found.places, wanted.places)


@settings(max_examples=200, deadline=None)
@given(
    lengths=st.lists(st.integers(2, 40), min_size=1, max_size=6),
    prefix=st.integers(0, 2),
    threshold=st.floats(0, 0.99),  # equal tokens have a cosine of 1 but for rounding
    remove=st.one_of(st.none(), st.integers(0, 25)),
    average=st.sampled_from(AVERAGES),
    similarity=st.sampled_from(SIMILARITIES),
    order=st.sampled_from(("place", "tome")),
    match=st.sampled_from(("value", "key", "hidden", "learned")),
    widths=st.tuples(st.integers(3, 40), st.integers(1, 3)),  # vectors of one number are all alike
    places=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_merges_are_those_of_the_operations(
    lengths, prefix, threshold, remove, average, similarity, order, match, widths, places, seed
):
    width, heads = widths
    tokens = random_tokens([length + prefix for length in lengths], prefix, width, seed)
    if places:
        tokens = replace(tokens, places=tokens.rank)
    drawn = torch.Generator().manual_seed(seed + 1)
    packed = torch.randn(len(tokens.values), 3, heads, width, generator=drawn)  # of which keys and values are views
    projected = Projected(torch.randn(len(packed), width, generator=drawn), packed[:, 1], packed[:, 2])
    maps = Maps((torch.randn(4, width, generator=drawn),), (torch.zeros(4),)) if match == "learned" else None
    removed = () if remove is None else (remove,)
    policy = MergePolicy((threshold,), removed, match, average, similarity, order, maps=maps)
    same(*both(lambda: matching.merged(tokens, projected, policy, 0)))


@pytest.mark.parametrize("order", ["place", "tome"])
@pytest.mark.parametrize("remove", [(), (7,)])
def test_of_equals_the_first_wins(order, remove):
    """Tokens that occur several times: which destination a source takes, and which pairs merge."""
    tokens = random_tokens([21, 40, 22], 1, 16)
    signs = torch.randn(3, 16, generator=torch.Generator().manual_seed(2)).sign()  # whose cosines have no rounding
    same_few = signs[torch.randint(3, (len(tokens.values),), generator=torch.Generator().manual_seed(3))]
    tokens = tokens.with_values(same_few)
    projected = Projected(same_few, same_few[:, None], same_few[:, None])
    policy = MergePolicy((0.5,), remove, match="hidden", order=order)
    same(*both(lambda: matching.merged(tokens, projected, policy, 0)))


def test_without_a_match_everything_keeps_its_bits():
    tokens = random_tokens([9, 2, 3, 30], 1, 16)
    projected = Projected(tokens.values, tokens.values[:, None], tokens.values[:, None])
    found, _ = both(lambda: matching.merged(tokens, projected, MergePolicy((0.9999,), match="hidden"), 0))
    assert torch.equal(found.values, tokens.values) and torch.equal(found.source, tokens.source)


@torch.no_grad()
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_stays_in_its_image(value):
    tokens = random_tokens([12, 12, 11], 1, 16)
    tokens.values[14] = value
    projected = Projected(tokens.values, tokens.values[:, None], tokens.values[:, None])
    found, wanted = both(lambda: matching.merged(tokens, projected, MergePolicy((0.2,), match="hidden"), 0))
    assert found.counts == wanted.counts and torch.equal(found.source, wanted.source)
    torch.testing.assert_close(found.values, wanted.values, equal_nan=True)


@pytest.mark.parametrize("policy", [
    MergePolicy.uniform(0.4, 3), MergePolicy.uniform(0.4, 3, order="tome", exit_layer=2),
    MergePolicy.fixed_ratio(3, 3), MergePolicy.fixed_ratio(3, 3, order="energy"),
], ids=["threshold", "exit", "tome", "energy"])  # fmt: skip
def test_an_encoder_computes_the_same(policy):
    encoder = tiny_encoder()

    def compute():
        found = encoder(IMAGES, policy)
        return found, encoder.finish(found.tokens, policy)

    (found, logits), (wanted, expected) = both(compute)
    assert torch.equal(found.layer_tokens, wanted.layer_tokens) and torch.equal(found.flops, wanted.flops)
    assert torch.equal(found.tokens.source, wanted.tokens.source)
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    with torch.no_grad():  # and of every image what it would be alone
        for image in range(len(IMAGES)):
            alone = encoder(IMAGES[image : image + 1], policy).tokens
            torch.testing.assert_close(alone.values, found.tokens.select([image]).values, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_an_image_does_not_depend_on_its_batch():
    tokens = random_tokens([30, 7, 19, 40], 1, 24)
    policy = MergePolicy((0.2,), match="hidden")
    together = compiled.merged(tokens, tokens.values, policy, 0)
    for image in range(len(tokens)):
        one = tokens.select([image])
        alone = compiled.merged(one, one.values, policy, 0)
        assert torch.equal(alone.values, together.select([image]).values)
        assert torch.equal(alone.source[0], together.source[image])


@pytest.fixture
def asked(monkeypatch):
    """How often compiled loops merged."""
    count, original = [], compiled.merged
    monkeypatch.setattr(compiled, "merged", lambda *call: count.append(call) or original(*call))
    return count


def test_gradients_modes_and_other_numbers_keep_the_operations(asked):
    encoder, policy = tiny_encoder(), MergePolicy.uniform(0.4, 3)
    encoder(IMAGES, policy)
    assert len(asked) == 3
    images = IMAGES.clone().requires_grad_()
    encoder(images, policy).tokens.values.sum().backward()
    assert images.grad.abs().sum() > 0
    with FlopCounterMode(display=False) as counter:
        flops = encoder(IMAGES, MergePolicy.fixed_ratio(2, 3)).flops
    with torch.autocast("cpu"):
        encoder(IMAGES, policy)
    encoder.double()(IMAGES.double(), policy)
    assert len(asked) == 3 and counter.get_total_flops() == flops.sum()


def test_without_numba_the_operations_run(operations, asked):
    assert tiny_encoder()(IMAGES, MergePolicy.uniform(0.4, 3)).tokens.counts and not asked


def test_threads_run_it_side_by_side():
    tokens = random_tokens([20, 33, 8] * 8, 1, 32)
    policy = MergePolicy((0.2,), match="hidden")
    wanted = compiled.merged(tokens, tokens.values, policy, 0)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: compiled.merged(tokens, tokens.values, policy, 0), range(40)):
            assert torch.equal(found.values, wanted.values) and torch.equal(found.source, wanted.source)


def test_numba_is_loaded_by_the_first_merge_and_not_before():
    program = (
        "import sys, torch; import atm.encoder, atm.compiled; assert 'numba' not in sys.modules\n"
        "assert atm.compiled.kernels() is not None and 'numba' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
