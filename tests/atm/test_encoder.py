"""The encoder against timm's own forward pass and torch's own FLOP counter."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from atm.encoder import Encoder
from atm.errors import AtmError
from atm.link import Link
from atm.policy import MergePolicy
from tests.atm.models import tiny_encoder

IMAGES = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "options",
    [{}, {"global_pool": "avg"}, {"qk_norm": True}, {"init_values": 0.3}, {"class_token": False, "global_pool": "avg"}],
)
@pytest.mark.parametrize("exit_layer", [None, 1])
def test_thresholds_of_one_and_a_noiseless_link_give_timms_logits(options, exit_layer):
    encoder = tiny_encoder(**options)
    policy = MergePolicy.uniform(1.0, 3, exit_layer=exit_layer)
    logits = Link(encoder, policy).transmit(IMAGES).logits
    torch.testing.assert_close(logits, encoder.vit(encoder.normalise(IMAGES)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("threshold", [1.0, 0.6, 0.2])
def test_flops_are_what_torch_counts_for_each_image(threshold):
    encoder = tiny_encoder()
    policy = MergePolicy.uniform(threshold, 3)
    for image in IMAGES[:3]:
        with FlopCounterMode(display=False) as counter:
            flops = encoder(image[None], policy).flops
        assert float(flops[0]) == pytest.approx(counter.get_total_flops(), rel=0.01)


@pytest.mark.parametrize("threshold", [0.7, 0.4])
def test_an_image_does_not_depend_on_its_batch(threshold):
    encoder, policy = tiny_encoder(), MergePolicy.uniform(threshold, 3)
    together = encoder(IMAGES, policy)
    assert together.tokens.lengths.min() < 17, "the case must merge something"
    for i in range(len(IMAGES)):
        alone = encoder(IMAGES[i : i + 1], policy)
        torch.testing.assert_close(alone.tokens.values, together.tokens.select([i]).values, atol=1e-5, rtol=1e-4)
        assert alone.tokens.source.tolist() == together.tokens.source[i : i + 1].tolist()
        assert float(alone.flops[0]) == float(together.flops[i])


def test_merging_conserves_patches_and_protects_the_class_token():
    encoder = tiny_encoder()
    tokens = encoder(IMAGES, MergePolicy.uniform(0.2, 3)).tokens
    assert tokens.sizes.sum() == len(IMAGES) * 17
    assert tokens.source.min() >= 1
    assert tokens.protected().shape == (6, 1, 24)


def test_fixed_ratio_removes_exactly_r_at_each_layer():
    encoded = tiny_encoder()(IMAGES, MergePolicy.fixed_ratio(3, 3))
    assert encoded.layer_tokens[:, 0].tolist() == [17, 14, 11, 8]


def test_the_exit_stops_merging():
    encoded = tiny_encoder()(IMAGES, MergePolicy.uniform(0.2, 3, exit_layer=2))
    assert encoded.layer_tokens.shape == (3, 6)


def test_gradients_reach_the_image_through_the_merge():
    images = IMAGES.clone().requires_grad_()
    tiny_encoder()(images, MergePolicy.uniform(0.4, 3)).tokens.values.square().sum().backward()
    assert images.grad.abs().sum() > 0


def test_what_cannot_run_says_so():
    with pytest.raises(AtmError, match="not supported"):
        Encoder(torch.nn.Linear(2, 2))
    with pytest.raises(AtmError, match="do not fit"):
        tiny_encoder()(torch.rand(1, 3, 16, 16), MergePolicy.uniform(1.0, 3))
    with pytest.raises(AtmError, match="has 2 thresholds but the victim has 3"):
        tiny_encoder()(IMAGES, MergePolicy.uniform(1.0, 2))
