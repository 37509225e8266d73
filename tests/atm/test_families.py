"""Every family of timm models: against timm's own forward pass, under merging, and against torch's FLOP counter."""

from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
from timm.layers import AttentionPoolLatent
from timm.models.eva import Eva
from timm.models.vision_transformer import ResPostBlock, VisionTransformer
from torch.utils.flop_counter import FlopCounterMode

from atm.encoder import Encoder
from atm.errors import AtmError
from atm.families import supported_families
from atm.policy import MergePolicy

SMALL = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 3, "num_heads": 3, "num_classes": 7}
SIX = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def named(name, **options):
    return lambda: timm.create_model(name, pretrained=False, **(SMALL | options))


def eva(**options):
    return lambda: Eva(**(SMALL | options))


MODELS = {
    "vit": named("vit_tiny_patch16_224"),
    "vit without class token": named("vit_tiny_patch16_224", class_token=False, global_pool="avg"),
    "vit, average with class token": named("vit_tiny_patch16_224", global_pool="avg", pool_include_prefix=True),
    "mae": named("vit_base_patch16_224.mae"),
    "clip": named("vit_base_patch16_clip_224"),
    "deit": named("deit_tiny_patch16_224"),
    "distilled deit": named("deit_tiny_distilled_patch16_224"),
    "deit3": named("deit3_small_patch16_224"),
    "dinov2": named("vit_small_patch14_dinov2"),
    "dinov2 swiglu": named("vit_giant_patch14_dinov2"),
    "dinov2 registers": named("vit_small_patch14_reg4_dinov2"),
    "dinov3": named("vit_small_patch16_dinov3"),
    "dinov3 swiglu": named("vit_small_plus_patch16_dinov3"),
    "eva": named("eva_giant_patch14_224"),
    "eva02 tiny": named("eva02_tiny_patch14_224"),
    "eva02 base": named("eva02_base_patch14_224"),
    "perception encoder": named("vit_pe_core_tiny_patch16_384"),
    "rope mixed": named("vit_small_patch16_rope_mixed_224"),
    "rope axial": named("vit_small_patch16_rope_224"),
    "beit": named("beit_base_patch16_224"),
    "beit shared bias": lambda: timm.models.beit.Beit(**SMALL, use_rel_pos_bias=True, use_shared_rel_pos_bias=True),
    "beitv2": named("beitv2_base_patch16_224"),
    "siglip": named("vit_base_patch16_siglip_224"),
    "siglip average": named("vit_base_patch16_siglip_gap_224"),
    "q/k norm": named("vit_tiny_patch16_224", qk_norm=True),
    "scaled attention": named("vit_tiny_patch16_224", scale_attn_norm=True, scale_mlp_norm=True),
    "post-norm": named("vit_tiny_patch16_224", block_fn=ResPostBlock, init_values=0.3),
    "eva post-norm": eva(use_post_norm=True),
    "eva gated inner": eva(
        scale_attn_inner=True, qkv_fused=False, swiglu_mlp=True, scale_mlp=True, use_rot_pos_emb=True
    ),
    "eva q/k norm": eva(qk_norm=True, use_rot_pos_emb=True, use_abs_pos_emb=False, num_reg_tokens=2, init_values=0.2),
    "grouped keys": eva(attn_type="rope", qkv_fused=False, num_kv_heads=1, use_rot_pos_emb=True),
    "any image size": named("vit_small_patch14_dinov2", dynamic_img_size=True),
    "eva, any image size": named("vit_small_patch16_dinov3", dynamic_img_size=True),
}


@pytest.fixture(scope="module", params=MODELS)
def encoder(request):
    torch.manual_seed(0)
    model = MODELS[request.param]().eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():  # timm's initial biases, scales and position tables are zero or tiny; make every term count
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator))
    return Encoder(model).eval().requires_grad_(False)


def merging_policy(encoder, **options):
    """Thresholds that really merge: similarities of random weights lie anywhere."""
    for threshold in (0.9, 0.7, 0.5, 0.3, 0.1, 0.0):
        policy = MergePolicy.uniform(threshold, encoder.depth, **options)
        lengths = encoder(SIX, policy).tokens.lengths
        if lengths.float().mean() < 0.75 * lengths.new_tensor(16 + encoder.vit.num_prefix_tokens):
            break
    return policy


@pytest.mark.parametrize("exit_layer", [None, 1])
def test_thresholds_of_one_give_timms_logits(encoder, exit_layer):
    policy = MergePolicy.uniform(1.0, encoder.depth, exit_layer=exit_layer)
    logits = encoder.finish(encoder(SIX, policy).tokens, policy)
    expected = encoder.vit(encoder.normalise(SIX))
    assert expected.std(0).min() > 1e-3, "the case must tell images apart"
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


def test_merging_protects_and_conserves(encoder):
    policy = merging_policy(encoder)
    encoded = encoder(SIX, policy)
    tokens, prefix = encoded.tokens, encoder.vit.num_prefix_tokens
    assert len(set(tokens.counts)) > 1, "the case must be ragged"
    assert tokens.sizes.sum() == len(SIX) * (16 + prefix)
    assert tokens.source.shape == (6, 16) and tokens.source.min() >= prefix
    for image in range(6):
        one = tokens.select([image])
        assert one.sizes[:prefix].tolist() == [1] * prefix
        counted = torch.bincount(one.source[0], minlength=one.counts[0])
        assert counted[prefix:].tolist() == one.sizes[prefix:].tolist()
    assert encoder.finish(tokens, policy).isfinite().all()


def test_flops_are_those_that_torch_counts(encoder):
    for match in ("value", "key", "hidden"):
        policy = replace(merging_policy(encoder), match=match)
        for image in SIX[:2]:
            with FlopCounterMode(display=False) as counter:
                flops = encoder(image[None], policy).flops
            assert float(flops[0]) == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_an_image_does_not_depend_on_its_batch(encoder):
    policy = merging_policy(encoder, proportional_attention=True)
    together = encoder(SIX, policy)
    logits = encoder.finish(together.tokens, policy)
    for image in range(2):
        alone = encoder(SIX[image : image + 1], policy)
        torch.testing.assert_close(alone.tokens.values, together.tokens.select([image]).values, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(encoder.finish(alone.tokens, policy)[0], logits[image], atol=1e-4, rtol=1e-4)


def test_survivors_keep_their_own_places(encoder):
    tokens = encoder(SIX, merging_policy(encoder)).tokens
    if tokens.places is None:
        return
    prefix = encoder.vit.num_prefix_tokens
    for image in range(6):
        one = tokens.select([image])
        assert one.places[:prefix].tolist() == list(range(prefix))
        own = one.source[0][one.places[prefix:] - prefix]  # where the patch of each place ended
        assert own.tolist() == list(range(prefix, one.counts[0]))


@pytest.mark.parametrize("name", ["dinov3", "rope mixed", "beit"])
def test_places_are_what_attention_uses(name):
    """Two survivors' rows and places exchanged: the same set of tokens at the same places, so the same class answer."""
    model = MODELS[name]().eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator))
    encoder = Encoder(model).eval()
    policy = merging_policy(encoder, exit_layer=1)
    tokens = encoder(SIX[:1], policy).tokens
    order = torch.arange(tokens.counts[0])
    order[[-1, -2]] = order[[-2, -1]]
    moved = replace(tokens, values=tokens.values[order], places=tokens.places[order], sizes=tokens.sizes[order])
    expected = encoder.finish(tokens, policy)
    torch.testing.assert_close(encoder.finish(moved, policy), expected, atol=1e-5, rtol=1e-4)
    misplaced = replace(moved, places=tokens.places)
    assert (encoder.finish(misplaced, policy) - expected).abs().max() > 1e-3


def test_attention_pooling_counts_a_token_by_its_size():
    """A merged token of size 2 pools like two equal tokens."""
    encoder = Encoder(MODELS["siglip"]().eval()).eval().requires_grad_(False)
    policy = MergePolicy.uniform(1.0, 3)
    tokens = encoder(SIX[:1], policy).tokens
    doubled = torch.cat((tokens.values, tokens.values[-1:]))
    twice = replace(tokens, values=doubled, lengths=tokens.lengths + 1, sizes=torch.ones(17))
    sizes = tokens.sizes.clone()
    sizes[-1] = 2
    torch.testing.assert_close(
        encoder.finish(replace(tokens, sizes=sizes), policy), encoder.finish(twice, policy), atol=1e-5, rtol=1e-5
    )
    assert isinstance(encoder.vit.attn_pool, AttentionPoolLatent)


@pytest.mark.parametrize(
    "make",
    [
        lambda: timm.create_model("swin_tiny_patch4_window7_224"),
        lambda: timm.create_model("resnet18"),
        lambda: timm.create_model("vit_relpos_small_patch16_224"),
        lambda: timm.create_model("maxvit_tiny_tf_224"),
        lambda: VisionTransformer(**SMALL, global_pool="avgmax"),
        lambda: VisionTransformer(**SMALL, global_pool="prr"),
        lambda: VisionTransformer(**SMALL, attn_layer="diff"),
        lambda: VisionTransformer(**SMALL, block_fn=timm.models.vision_transformer.ParallelScalingBlock),
        lambda: torch.nn.Linear(2, 2),
    ],
)
def test_what_cannot_work_says_so_in_one_line(make):
    with pytest.raises(AtmError, match="not supported") as caught:
        Encoder(make())
    assert "\n" not in str(caught.value)


RECTANGLES = {
    "vit": named("vit_tiny_patch16_224", img_size=(32, 48)),
    "one channel": named("vit_tiny_patch16_224", in_chans=1),
    "tall patches": named("vit_tiny_patch16_224", patch_size=(16, 8)),
    "rotary": named("vit_small_patch16_dinov3", img_size=(48, 32)),
    "rotary, mixed": named("vit_small_patch16_rope_mixed_224", img_size=(32, 48), in_chans=1),
    "relative bias": named("beit_base_patch16_224", img_size=(32, 48)),
    "attention pooling": named("vit_base_patch16_siglip_224", img_size=(48, 32)),
}


@pytest.mark.parametrize("name", RECTANGLES)
def test_rectangles_and_one_channel(name):
    """Timm's own answers; merging conserves; a picture of another shape is refused."""
    torch.manual_seed(0)
    model = RECTANGLES[name]().eval()
    encoder = Encoder(model).eval().requires_grad_(False)
    channels, height, width = encoder.input_shape
    images = torch.rand(4, channels, height, width)
    dense = MergePolicy.uniform(1.0, encoder.depth)
    logits = encoder.finish(encoder(images, dense).tokens, dense)
    torch.testing.assert_close(logits, model(encoder.normalise(images)), atol=1e-5, rtol=1e-5)
    rows, columns = encoder.patch_grid
    tokens = encoder(images, MergePolicy.uniform(0.0, encoder.depth)).tokens
    assert tokens.source.shape == (4, rows * columns) and min(tokens.counts) < rows * columns
    assert tokens.sizes.sum() == 4 * (rows * columns + model.num_prefix_tokens)
    with pytest.raises(AtmError, match=f"do not fit a victim for {channels}x{height}x{width}"):
        encoder(torch.rand(4, channels, width + 8, height), dense)


@pytest.mark.parametrize(("numbers", "channels", "fits"), [(1, 3, True), (3, 3, True), (1, 1, True), (3, 1, False)])
def test_normalisation_has_a_number_for_each_channel_or_one_for_all(numbers, channels, fits):
    model = named("vit_tiny_patch16_224", in_chans=channels)()
    if fits:
        assert Encoder(model, (0.5,) * numbers).mean.shape == (1, channels, 1, 1)
    else:
        with pytest.raises(AtmError, match="3 numbers for 1 input channels"):
            Encoder(model, (0.5,) * numbers)


def test_example_models_exist_and_belong_to_their_family():
    for family in supported_families():
        assert family.note
        for name in family.models:
            assert timm.is_model(name.split(".")[0]), name
