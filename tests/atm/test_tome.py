"""The fixed-ratio baseline is ToMe: its own order of tokens, keys, sizes and proportional attention, layer after layer.

The reference is written with loops from the paper and its published procedure. On pictures, with the DeiT and ViT
architectures at 224 pixels and 8 tokens removed at each layer, logits are those of the authors' code to 5e-6 of 0.9.
"""

from __future__ import annotations

import pytest
import torch

from atm.encoder import Encoder
from atm.link import Link
from atm.policy import SIMILARITIES, MergePolicy
from atm.threat import PRESETS
from attacks import available
from attacks.session import Campaign, Session
from tests.atm.models import tiny_encoder, tiny_vit
from tests.atm.test_merging import brute_force
from tests.systems import CHANNELS, CODECS, DEPTH, EXITS, VICTIMS, channel, codec, pictures, victim

IMAGES = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def reference(encoder: Encoder, image: torch.Tensor, remove: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens ``[n, d]`` after the last layer in ToMe's order, and their sizes."""
    vit = encoder.vit
    x = vit.norm_pre(vit._pos_embed(vit.patch_embed(encoder.normalise(image[None]))))[0]
    prefix, sizes = vit.num_prefix_tokens, torch.ones(len(x))
    source = torch.arange(prefix, len(x))
    for block in vit.blocks:
        attn, heads = block.attn, block.attn.num_heads
        q, k, v = attn.qkv(block.norm1(x)).view(len(x), 3, heads, -1).permute(1, 2, 0, 3)
        scores = q @ k.transpose(1, 2) / k.shape[-1] ** 0.5 + sizes.log()
        x = x + attn.proj((scores.softmax(-1) @ v).transpose(0, 1).flatten(1))
        x, sizes, source = brute_force(x, k.mean(0), sizes, source, prefix, "size", remove=remove, order="tome")
        x = x + block.mlp(block.norm2(x))
    return x, sizes


@pytest.mark.parametrize("options", [{}, {"class_token": False, "global_pool": "avg"}, {"reg_tokens": 2}], ids=str)
@pytest.mark.parametrize("remove", [1, 2, 3])
def test_it_is_tome(options, remove):
    encoder, policy = Encoder(tiny_vit(**options)).eval(), MergePolicy.fixed_ratio(remove, 3)
    with torch.no_grad():
        tokens = encoder(IMAGES, policy).tokens
        for number, image in enumerate(IMAGES):
            x, sizes = reference(encoder, image, remove)
            own = tokens.select([number])
            assert sorted(own.sizes.tolist()) == sorted(sizes.tolist())
            near = torch.cdist(own.values, x)
            assert near.argmin(1).sort().values.tolist() == list(range(len(x)))
            torch.testing.assert_close(own.values, x[near.argmin(1)], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(own.sizes, sizes[near.argmin(1)])


@pytest.mark.parametrize("threshold", [0.6, 0.3])
def test_tokens_leave_in_the_order_of_their_places_whatever_order_they_were_matched_in(threshold):
    encoder = tiny_encoder()
    policy = MergePolicy.uniform(threshold, 3, order="tome")
    tokens = encoder(IMAGES, policy).tokens
    assert tokens.places is None and int(tokens.lengths.min()) < 17
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("atm.encoder.replace", lambda found, places: found)  # which takes the places away
        placed = encoder(IMAGES, policy).tokens
    assert torch.equal(placed.values, tokens.values)
    for number in range(len(IMAGES)):
        places = placed.select([number]).places.tolist()
        assert places == sorted(places) and places[0] == 0
        for token, place in list(enumerate(places))[1:]:
            assert int(tokens.source[number, place - 1]) == token, "a destination keeps its own place"
    for image in range(len(IMAGES)):
        alone = encoder(IMAGES[image : image + 1], policy).tokens
        torch.testing.assert_close(alone.values, tokens.select([image]).values, atol=1e-5, rtol=1e-4)
        assert alone.source.tolist() == tokens.source[image : image + 1].tolist()


def test_the_order_changes_what_merges():
    encoder = tiny_encoder()
    first, second = (encoder(IMAGES, MergePolicy.fixed_ratio(3, 3, order=order)).tokens for order in ("place", "tome"))
    assert first.counts == second.counts and not torch.equal(first.source, second.source)


def test_size_aware_matching_spares_large_tokens():
    encoder = tiny_encoder()
    by_cosine, by_size = (
        encoder(IMAGES, MergePolicy.uniform(0.2, 3, similarity=similarity)).tokens
        for similarity in ("cosine", "size-aware")
    )
    assert float(by_size.sizes.max()) < float(by_cosine.sizes.max())


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("order", ["place", "tome"])
@pytest.mark.parametrize("exit_layer", EXITS)
@pytest.mark.parametrize("kind", VICTIMS)
@pytest.mark.parametrize("coded", CODECS)
def test_orders_and_similarities_go_with_every_victim_exit_and_codec(coded, kind, exit_layer, order, similarity):
    options = {"exit_layer": exit_layer, "order": order, "similarity": similarity}
    policy = MergePolicy.uniform(0.6, DEPTH, **options)
    encoder = victim(kind)
    link = Link(encoder, policy, codec(coded, encoder, exit_layer), channel(CHANNELS[1]))
    images = pictures(4, 3)
    sent = link.transmit(images, 1)
    assert bool(sent.on_air.isfinite().all()) and bool(sent.logits.isfinite().all())
    assert (sent.sent.places is not None) == encoder.uses_places
    prefix, patches = sent.sent.prefix, encoder.patch_grid[0] * encoder.patch_grid[1]
    assert float(sent.sent.sizes.sum()) == len(images) * (prefix + patches)
    assert int(sent.sent.lengths.min()) < prefix + patches, "something must merge"
    session = Session(link, PRESETS["server"], pictures(40, 1), campaign=Campaign(quick=True))
    _, seen, _ = session.victims(images)
    rebuilt = session.fitted(available()["ridge"]).reconstruct(seen)
    assert rebuilt.shape == images.shape and bool(rebuilt.isfinite().all())
