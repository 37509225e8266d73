"""Merging with gradients against the encoder itself: hard values are its values, and soft ones have them as a limit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atm import matching, soft
from atm.merging_training import value_maps
from atm.policy import AVERAGES, MergePolicy
from atm.soft import Softness, SoftTokens
from tests.atm.models import tiny_encoder
from tests.systems import VICTIMS, pictures
from tests.systems import victim as small

IMAGES = pictures(6, 3)
STRAIGHT = Softness()
LIMIT = Softness(merge=1e-6, choice=1e-6, straight=False)


def softly(encoder, policy, softness=STRAIGHT, with_map=False):
    def metric(layer, tokens, projected):
        return matching.metric(policy, layer, tokens, projected)

    thresholds = torch.tensor(policy.thresholds)
    return soft.run(encoder, IMAGES, policy, thresholds, metric, softness, with_map)


@pytest.mark.parametrize("softness", [STRAIGHT, LIMIT], ids=["straight-through", "limit"])
@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        (tiny_encoder(), {}),
        (tiny_encoder(class_token=False, global_pool="avg"), {"proportional_attention": True}),
        (tiny_encoder(reg_tokens=2), {"exit_layer": 2, "match": "key"}),
        (tiny_encoder(global_pool="map", class_token=False), {"exit_layer": 1, "proportional_attention": True}),
        *((small(kind), {"exit_layer": exit_layer}) for kind in VICTIMS for exit_layer in (1, 2)),
    ],
)
def test_its_values_are_those_of_the_encoder(encoder, options, average, softness):
    policy = MergePolicy.uniform(0.7, encoder.depth, average=average, **options)
    hard = encoder(IMAGES, policy)
    assert int(hard.tokens.lengths.min()) < int(hard.layer_tokens[0, 0]), "something must merge"
    tokens, counts = softly(encoder, policy, softness, with_map=True)
    torch.testing.assert_close(counts, hard.layer_tokens.float())
    for image, left in enumerate(tokens.mass > 0.5):
        own = hard.tokens.select([image])
        torch.testing.assert_close(tokens.values[image][left], own.values, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(tokens.sizes[image][left], own.sizes)
    torch.testing.assert_close(tokens.per_patch(), hard.tokens.per_patch(), atol=1e-4, rtol=1e-4)
    logits = encoder.finish(hard.tokens, policy)
    torch.testing.assert_close(soft.finish(encoder, tokens, policy), logits, atol=1e-4, rtol=1e-4)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), st.integers(0, 2), st.floats(-0.9, 0.9), st.booleans(), st.integers(0, 10_000))
def test_nothing_is_lost_and_nothing_doubled(free, prefix, threshold, straight, seed):
    generator = torch.Generator().manual_seed(seed)
    count = free + prefix
    x = torch.randn(2, count, 4, generator=generator)
    tokens = SoftTokens(
        x, torch.ones(2, count), torch.ones(2, count), prefix, source=torch.eye(count).expand(2, -1, -1)
    )
    unit = torch.nn.functional.normalize(x, dim=-1)
    assigned = soft.assignment(
        unit @ unit.transpose(1, 2), tokens, torch.tensor(threshold), Softness(straight=straight)
    )
    merged = soft.merge(tokens, assigned, "mean")
    assert bool((assigned >= 0).all() and (assigned.sum(-1) <= 1 + 1e-6).all())
    assert float(assigned[:, :prefix].abs().sum() + assigned[:, :, :prefix].abs().sum()) == 0
    assert bool((merged.mass >= -1e-6).all())
    torch.testing.assert_close((merged.sizes * merged.mass).sum(1), torch.full((2,), float(count)))
    torch.testing.assert_close(merged.source.sum(-1), torch.ones(2, count))


def test_half_a_token_counts_half():
    x, mass = torch.tensor([[[1.0], [5.0]]]), torch.tensor([[0.5, 1.0]])
    assigned = torch.tensor([[[0.0, 0.4], [0.0, 0.0]]])
    merged = soft.merge(SoftTokens(x, mass, torch.tensor([[2.0, 3.0]]), 0), assigned, "size")
    brought = 0.4 * 2 * 0.5  # of a source of size 2, of which half is left
    assert merged.values[0, 1, 0].item() == pytest.approx((3 * 5 + brought * 1) / (3 + brought))
    assert merged.mass[0].tolist() == pytest.approx([0.5 * 0.6, 1.0])
    assert merged.sizes[0].tolist() == pytest.approx([2.0, 3 + brought])


@pytest.mark.parametrize("average", AVERAGES)
def test_soft_gradients_are_those_of_the_values(average):
    generator = torch.Generator().manual_seed(1)
    cosines = 2 * torch.rand(1, 5, 5, generator=generator, dtype=torch.float64) - 1
    x, sizes = torch.randn(1, 5, 3, generator=generator, dtype=torch.float64), torch.ones(1, 5).double()
    twice = 2 * sizes

    def through(cosines, threshold, x):
        tokens = SoftTokens(x, sizes, twice, 1)
        merged = soft.merge(tokens, soft.assignment(cosines, tokens, threshold, Softness(straight=False)), average)
        return merged.values, merged.mass, merged.sizes

    inputs = cosines.requires_grad_(), torch.tensor(0.2, dtype=torch.float64, requires_grad=True), x.requires_grad_()
    assert torch.autograd.gradcheck(through, inputs)


@pytest.mark.parametrize("softness", [STRAIGHT, LIMIT], ids=["straight-through", "limit"])
def test_gradients_are_finite_where_nearly_everything_is_gone(softness):
    encoder = tiny_encoder(depth=5)
    policy = MergePolicy.uniform(0.0, 5)
    thresholds = torch.tensor(policy.thresholds, requires_grad=True)
    tokens, counts = soft.run(
        encoder, IMAGES, policy, thresholds, lambda *found: matching.metric(policy, *found), softness
    )
    assert counts[-1].min().item() < 4
    (1e6 * (soft.finish(encoder, tokens, policy).square().sum() + tokens.values.square().sum())).backward()
    assert bool(thresholds.grad.isfinite().all())


@pytest.mark.parametrize("exit_layer", [None, 2])
def test_gradients_reach_every_threshold_and_map_of_the_device(exit_layer):
    encoder = tiny_encoder()
    maps = value_maps(encoder, IMAGES, {})
    policy = MergePolicy.uniform(0.8, 3, match="learned", maps=maps, exit_layer=exit_layer)
    thresholds = torch.tensor(policy.thresholds, requires_grad=True)
    weights = [weight.clone().requires_grad_() for weight in maps.weights]
    tokens, _ = soft.run(
        encoder, IMAGES, policy, thresholds, lambda layer, _, projected: projected.normed @ weights[layer].T
    )
    soft.finish(encoder, tokens, policy).square().sum().backward()
    used = policy.device_layers
    # Nothing attends behind the last merge of a victim that sends after its last layer: the class token has all by then
    felt = used if exit_layer else used - 1
    assert bool((thresholds.grad[:felt].abs() > 0).all() and thresholds.grad.isfinite().all())
    for layer, weight in enumerate(weights):
        moved = weight.grad is not None and bool((weight.grad.abs() > 0).any())
        assert moved == (layer < felt), layer
