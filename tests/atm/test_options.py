"""Each option of the algorithm does what it says, and each way to compute it gives the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atm import attention, compiled, merging
from atm import encoder as engine
from atm.calibration import fixed_ratio_like, policy_saving
from atm.errors import AtmError
from atm.families import Positions
from atm.policy import MergePolicy
from tests.atm.models import random_tokens, tiny_encoder

IMAGES = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def first_layer(encoder, image):
    """Queries, keys and values ``[n, heads, h]`` of the first layer, and the states after its attention."""
    vit, block = encoder.vit, encoder.vit.blocks[0]
    x = vit.norm_pre(vit._pos_embed(vit.patch_embed(encoder.normalise(image[None]))))
    parts = block.attn.qkv(block.norm1(x))[0].unflatten(-1, (3, block.attn.num_heads, -1)).unbind(1)
    return *parts, (x + block.attn(block.norm1(x)))[0]


@pytest.mark.parametrize("match", ["value", "key", "hidden"])
def test_match_compares_the_vectors_that_it_names(match, monkeypatch):
    encoder, seen = tiny_encoder(), []
    true_match = merging.match
    monkeypatch.setattr(compiled, "kernels", lambda: None)  # which calls nothing that could be watched
    monkeypatch.setattr(
        merging, "match", lambda tokens, metric, *rest: seen.append(metric) or true_match(tokens, metric)
    )
    encoder(IMAGES[:1], MergePolicy((0.5, 1.0, 1.0), match=match))
    _, keys, values, hidden = first_layer(encoder, IMAGES[0])
    expected = {"value": values.flatten(1), "key": keys.mean(1), "hidden": hidden}[match]
    assert len(seen) == 1, "layers with threshold 1 must not match at all"
    torch.testing.assert_close(seen[0], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("average", ["norm", "size", "mean"])
def test_average_weighs_as_it_says(average):
    encoder = tiny_encoder()
    encoder.vit.blocks[0].mlp = torch.nn.Identity()  # so that what leaves layer 1 is twice what was merged ...
    encoder.vit.blocks[0].norm2 = torch.nn.Identity()
    encoded = encoder(IMAGES[:1], MergePolicy((0.2, 1.0, 1.0), average=average, exit_layer=1)).tokens
    hidden = first_layer(encoder, IMAGES[0])[-1]
    for token in range(1, encoded.counts[0]):
        group = hidden[1:][encoded.source[0] == token]
        weights = group.norm(dim=-1) if average == "norm" else torch.ones(len(group))  # all sizes are still 1
        merged = (weights[:, None] * group).sum(0) / weights.sum()
        torch.testing.assert_close(encoded.values[token], 2 * merged, atol=1e-4, rtol=1e-4)


def test_size_average_is_that_of_all_patches_after_two_merges():
    tokens = random_tokens([9])
    matches = merging.above(merging.match(tokens, tokens.values), -1.0)
    merged = merging.merge(tokens, matches, "size")
    total = (tokens.values[1:] * tokens.sizes[1:, None]).sum(0)
    torch.testing.assert_close((merged.values[1:] * merged.sizes[1:, None]).sum(0), total, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("proportional", [True, False])
def test_proportional_attention_adds_the_log_of_the_sizes(proportional):
    encoder = tiny_encoder()
    policy = MergePolicy((0.2, 1.0, 1.0), proportional_attention=proportional)
    before = encoder(IMAGES, replace(policy, exit_layer=1)).tokens
    after = encoder(IMAGES, replace(policy, exit_layer=2)).tokens
    assert before.sizes.max() > 1
    block = encoder.vit.blocks[1]
    for image in range(len(IMAGES)):
        one = before.select([image])
        q, k, v = block.attn.qkv(block.norm1(one.values)).unflatten(-1, (3, 3, -1)).permute(1, 2, 0, 3)
        scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        if proportional:
            scores = scores + one.sizes.log()
        x = one.values + block.attn.proj((scores.softmax(-1) @ v).transpose(0, 1).flatten(1))
        expected = x + block.mlp(block.norm2(x))
        torch.testing.assert_close(after.select([image]).values, expected, atol=1e-4, rtol=1e-4)


def test_the_exit_leaves_the_rest_to_the_server():
    encoder = tiny_encoder()
    policy = MergePolicy((0.2, 1.0, 1.0))
    early = replace(policy, exit_layer=1)
    whole, part = encoder(IMAGES, policy), encoder(IMAGES, early)
    assert part.layer_tokens.tolist() == whole.layer_tokens[:2].tolist()
    assert (part.flops < whole.flops).all()
    torch.testing.assert_close(encoder.finish(part.tokens, early), encoder.finish(whole.tokens, policy))
    assert (
        encoder(IMAGES, MergePolicy.uniform(0.2, 3, exit_layer=1)).layer_tokens.tolist() == part.layer_tokens.tolist()
    )


@given(r=st.integers(0, 20), class_token=st.booleans(), registers=st.integers(0, 3))
def test_fixed_ratio_reproduces_tomes_counts(r, class_token, registers):
    pool = "token" if class_token else "avg"
    encoder = tiny_encoder(class_token=class_token, reg_tokens=registers, global_pool=pool)
    protected = class_token + registers
    expected = [16 + protected]
    for _ in range(3):
        expected.append(expected[-1] - min(r, (expected[-1] - protected) // 2))
    encoded = encoder(IMAGES[:2], MergePolicy.fixed_ratio(r, 3))
    assert encoded.layer_tokens.tolist() == [[n, n] for n in expected]


@given(
    lengths=st.lists(st.integers(1, 12), min_size=2, max_size=5),
    prefix=st.integers(0, 1),
    weighted=st.booleans(),
    biased=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_padded_equals_one_image_at_a_time(lengths, prefix, weighted, biased, seed):
    """The path of accelerators, on a CPU."""
    generator = torch.Generator().manual_seed(seed)
    lengths = [max(length, prefix + 1) for length in lengths]
    tokens = random_tokens(lengths, prefix, width=8, seed=seed)
    places = torch.cat([torch.randperm(15, generator=generator)[:length] for length in lengths])
    tokens = replace(tokens, places=places)
    q, k, v = torch.randn(3, sum(lengths), 2, 4, generator=generator)
    weights = tokens.sizes.log() if weighted else None
    bias = torch.randn(2, 15, 15, generator=generator) if biased else None
    torch.testing.assert_close(
        attention._padded(q, k, v, tokens, weights, bias),
        attention.ragged_attention(q, k, v, tokens, weights, bias),
        atol=1e-5, rtol=1e-4,
    )  # fmt: skip
    each, padded = (way(tokens, tokens.values, None, 0) for way in (merging._match_each, merging._match_padded))
    assert each.source.tolist() == padded.source.tolist() and each.image.tolist() == padded.image.tolist()
    assert each.destination.tolist() == padded.destination.tolist()
    torch.testing.assert_close(each.similarity, padded.similarity, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("at_once", [16, 40, 100])
def test_the_number_of_tokens_at_once_changes_nothing(at_once, monkeypatch):
    encoder, policy = tiny_encoder(), MergePolicy.uniform(0.4, 3)
    whole = encoder(IMAGES, policy)
    monkeypatch.setattr(engine, "TOKENS_AT_ONCE", at_once)
    parts = encoder(IMAGES, policy)
    torch.testing.assert_close(parts.tokens.values, whole.tokens.values, atol=1e-5, rtol=1e-4)
    assert parts.layer_tokens.tolist() == whole.layer_tokens.tolist()
    assert parts.tokens.source.tolist() == whole.tokens.source.tolist()


def test_rotation_by_the_place_of_each_token():
    """One head of two values: a token at place p turns by angle p, so only differences of places enter the scores."""
    angles = torch.arange(12.0)[:, None, None]
    table = torch.cat((angles.sin().expand(-1, 1, 2), angles.cos().expand(-1, 1, 2)), -1)
    tokens = replace(random_tokens([4, 3], 0, width=2), places=torch.tensor([0, 3, 4, 7, 1, 2, 5]))
    attn = torch.nn.Module()
    attn.qkv, attn.proj, attn.num_heads = torch.nn.Linear(2, 6), torch.nn.Identity(), 1
    out, _, _ = attention.attend(attn, tokens.values, tokens, Positions(rotary=table))
    moved = replace(tokens, places=tokens.places + 4)
    again, _, _ = attention.attend(attn, tokens.values, moved, Positions(rotary=table))
    torch.testing.assert_close(out, again, atol=1e-6, rtol=1e-5)
    elsewhere = replace(tokens, places=tokens.places.flip(0))
    assert (attention.attend(attn, tokens.values, elsewhere, Positions(rotary=table))[0] - out).abs().max() > 1e-4


def test_bfloat16_runs():
    encoder = tiny_encoder().to(torch.bfloat16)
    for policy in (MergePolicy.uniform(0.4, 3), MergePolicy.fixed_ratio(3, 3)):
        logits = encoder.finish(encoder(IMAGES.bfloat16(), policy).tokens, policy)
        assert logits.dtype == torch.bfloat16 and logits.isfinite().all()


@pytest.mark.parametrize("saved", [0.1, 0.3, 0.5])
def test_a_policy_saves_what_was_asked_for(saved):
    encoder = tiny_encoder(depth=6)
    dense = encoder(IMAGES, MergePolicy.uniform(1.0, 6)).flops.mean()
    policy = policy_saving(encoder, IMAGES, saved)
    encoded = encoder(IMAGES, policy)
    assert 1 - float(encoded.flops.mean() / dense) == pytest.approx(saved, abs=0.06)
    tome = encoder(IMAGES, fixed_ratio_like(encoder, encoded.layer_tokens))
    ours = encoded.layer_tokens.double().mean(1)
    assert (tome.layer_tokens[:, 0] - ours).abs().max() <= 1


def test_a_saving_that_merging_cannot_reach_is_refused():
    with pytest.raises(AtmError, match="cannot save 95%"):
        policy_saving(tiny_encoder(), IMAGES, 0.95)
