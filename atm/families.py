"""What the families of timm's vision transformers do differently; nothing else in the engine knows.

A model is known by the forward functions that it is made of, not by its name or class: what inherits a known forward
pass and is built from known blocks runs, whatever it is called. The encoder needs four things of a model:

- `embed`: images to tokens, and how positions enter the attention (`Positions`),
- `attention_half` and `mlp_half`: the parts of one block,
- `head`: tokens to logits,
- `check`: whether it is one that these functions read correctly.

Positions of merged tokens: absolute embeddings were added to the tokens before the first layer and merge with them. For
rotary embeddings (DINOv3, EVA-02) and relative biases (BEiT) every survivor keeps its own place; a destination keeps
its own too, wherever the sources that it took up stood. Registers, class and distillation tokens are protected. Dropout
and stochastic depth are left out: the encoder always computes what the model computes in evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from timm import layers
from timm.layers import Attention, AttentionPoolLatent
from timm.models import beit, eva
from timm.models import vision_transformer as vit
from timm.models.deit import VisionTransformerDistilled
from torch import Tensor, nn

from atm.bert import Bert, BertBlock
from atm.errors import AtmError
from atm.tokens import TokenBatch


@dataclass(frozen=True)
class Family:
    """A family of models that the encoder runs.

    Attributes:
        name: as the literature calls it.
        models: examples by timm's names.
        note: what is particular about it.
    """

    name: str
    models: tuple[str, ...]
    note: str


def supported_families() -> list[Family]:
    """The families of timm models that can be victims, with examples."""
    return [
        Family("ViT", ("vit_tiny_patch16_224", "vit_base_patch16_224.mae"), "augreg, MAE; class token or average"),
        Family("CLIP", ("vit_base_patch16_clip_224",), "a norm before the first layer"),
        Family("DeiT", ("deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"), "two heads where distilled"),
        Family("DeiT-III", ("deit3_small_patch16_224",), "layer scale, no position on the class token"),
        Family("DINOv2", ("vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"), "registers are protected"),
        Family("DINOv3", ("vit_small_patch16_dinov3",), "rotary positions: every survivor keeps its own"),
        Family("EVA", ("eva02_tiny_patch14_224", "vit_pe_core_tiny_patch16_384"), "rotary positions, gated MLPs"),
        Family("BEiT", ("beit_base_patch16_224", "beitv2_base_patch16_224"), "relative bias between survivors' places"),
        Family("SigLIP", ("vit_base_patch16_siglip_224",), "attention pooling, each token counted by its size"),
    ]


@dataclass(frozen=True)
class Positions:
    """How one layer's attention uses the places of tokens; places count from 0, protected tokens first.

    Attributes:
        rotary: ``[places, 1 or heads, 2 * head]``, sine then cosine for each place; or None.
        half: whether a head's first half rotates with its second (else neighbouring values).
        bias: ``[heads, places, places]``, added to the scores; or None.
    """

    rotary: Tensor | None = None
    half: bool = False
    bias: Tensor | None = None


def _same(x: Tensor) -> Tensor:
    return x


class Half(NamedTuple):
    """One half of a block, its attention or its MLP: ``close(x + after(inner(before(x))))``.

    What stands behind the whole sum, as the norms of BERT do, is ``close``.
    """

    before: Callable[[Tensor], Tensor]
    inner: Any
    after: Callable[[Tensor], Tensor]
    close: Callable[[Tensor], Tensor] = _same


def embed(model: Any, images: Tensor) -> Tensor:
    """Tokens ``[B, n, d]`` of normalised images before the first layer, the protected ones first."""
    x = model.patch_embed(images)
    if isinstance(model, beit.Beit):
        x = torch.cat((model.cls_token.expand(len(x), -1, -1), x), dim=1)
        return x if model.pos_embed is None else x + model.pos_embed
    embedded = model._pos_embed(x)  # EVA returns its rotary table as well
    return model.norm_pre(embedded[0] if isinstance(model, eva.Eva) else embedded)


def uses_places(model: Any) -> bool:
    """Whether the model's attention needs to know where each token stood."""
    if getattr(model, "rope", None) is not None or getattr(model, "rel_pos_bias", None) is not None:
        return True
    return getattr(model.blocks[0].attn, "relative_position_bias_table", None) is not None


def positions(model: Any, layer: int) -> Positions:
    """How a layer uses the places of its tokens, of a model that does (`uses_places`)."""
    return _relative(model, layer) if isinstance(model, beit.Beit) else _rotary(model, layer)


def _rotary(model: Any, layer: int) -> Positions:
    known = not model.dynamic_img_size and getattr(model.rope, "feat_shape", None) is not None
    table = model.rope.get_embed(shape=None if known else model.patch_embed.grid_size)
    # timm: one table for all layers [P, 2h], or one per layer and head [layers, heads, P, 2h]
    table = table[layer].transpose(0, 1) if model.rope_mixed else table[:, None]
    sine, cosine = table.new_zeros(()), table.new_ones(())
    prefix = (model.num_prefix_tokens, table.shape[1], table.shape[2] // 2)
    unturned = torch.cat((sine.expand(prefix), cosine.expand(prefix)), -1)  # protected tokens do not turn
    half = bool(getattr(model.blocks[layer].attn, "rotate_half", False))
    return Positions(rotary=torch.cat((unturned, table)), half=half)


def _relative(model: Any, layer: int) -> Positions:
    attn = model.blocks[layer].attn
    tables = [] if model.rel_pos_bias is None else [model.rel_pos_bias()]
    if attn.relative_position_bias_table is not None:
        tables.append(attn._get_rel_pos_bias()[0])
    return Positions(bias=sum(tables[1:], tables[0]))


def attention_half(block: Any) -> Half:
    """The first half of a block."""
    if isinstance(block, BertBlock):
        return Half(_same, block.attn, _same, block.norm1)
    if _forward(block) in POST_NORM:
        return Half(_same, block.attn, block.norm1)
    return Half(block.norm1, block.attn, block.ls1 if _scales_in_layers(block) else _scale(block.gamma_1))


def mlp_half(block: Any) -> Half:
    """The second half of a block."""
    if isinstance(block, BertBlock):
        return Half(_same, block.mlp, _same, block.norm2)
    if _forward(block) in POST_NORM:
        return Half(_same, block.mlp, block.norm2)
    return Half(block.norm2, block.mlp, block.ls2 if _scales_in_layers(block) else _scale(block.gamma_2))


def _scales_in_layers(block: Any) -> bool:
    """Whether what scales a block's sums are modules; EVA and BEiT have bare parameters."""
    return _forward(block) is vit.Block.forward


def _scale(gamma: Tensor | None) -> Callable[[Tensor], Tensor]:
    return _same if gamma is None else gamma.mul


def head(model: Any, tokens: TokenBatch) -> Tensor:
    """``[B, classes]`` logits from the tokens after the last layer; its pooled values where the model has no head."""
    if hasattr(model, "head_dist"):
        first, second = model.norm(tokens.protected()[:, :2]).unbind(1)
        return (model.head(first) + model.head_dist(second)) / 2
    return model.head(model.head_drop(pooled(model, tokens)))


def pooled(model: Any, tokens: TokenBatch) -> Tensor:
    """``[B, features]``, what the task head reads of the tokens after the last layer.

    Pooling over patches counts a token as many times as it has patches, in the average as in attention pooling. Where
    two heads read a token each (distilled DeiT), their mean stands for both.
    """
    if hasattr(model, "head_dist"):
        return model.norm(tokens.protected()[:, :2]).mean(1)
    if isinstance(model, FirstTwo):
        return model.fc_norm(model.norm(tokens.protected()[:, :2]).mean(1))
    if model.global_pool == "token":
        return model.fc_norm(model.norm(tokens.protected()[:, 0]))  # norms act on each token alone
    tokens = tokens.with_values(model.norm(tokens.values))
    attentive = getattr(model, "attn_pool", None)
    # timm's EVA pools its prefix with attention, its ViT only where the model says so
    prefix = getattr(model, "pool_include_prefix", isinstance(model, eva.Eva) and attentive is not None)
    weights = _patches(tokens, prefix)
    mean = _average(tokens, weights) if attentive is None else _attend(attentive, tokens, weights)
    return torch.cat((tokens.protected()[:, 0], mean), -1) if isinstance(model, TokenAndMean) else model.fc_norm(mean)


class TokenAndMean(vit.VisionTransformer):
    """DINOv2's own classifier: its head reads the class token and the mean patch, one behind the other."""

    def __init__(self, num_classes: int = 0, **options: Any) -> None:
        super().__init__(num_classes=0, **options)
        self.global_pool = "avg"  # of which the class token is a part; its norm stays before the pooling
        self.num_classes = num_classes
        self.head = nn.Linear(2 * self.embed_dim, num_classes)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits ``[B, classes]`` from the normed tokens ``[B, n, d]``."""
        both = torch.cat((x[:, 0], x[:, self.num_prefix_tokens :].mean(1)), -1)
        return both if pre_logits else self.head(both)


class FirstTwo(vit.VisionTransformer):
    """The Audio Spectrogram Transformer's classifier: its head reads the mean of class and distillation token."""

    def __init__(self, num_classes: int = 0, **options: Any) -> None:
        super().__init__(num_classes=num_classes, reg_tokens=1, **options)
        self.fc_norm = options["norm_layer"](self.embed_dim) if num_classes else nn.Identity()

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits ``[B, classes]`` from the normed tokens ``[B, n, d]``."""
        both = self.fc_norm(x[:, :2].mean(1))
        return both if pre_logits else self.head(both)


def _patches(tokens: TokenBatch, prefix: bool) -> Tensor:
    """``[T]``: how often each token counts when tokens are pooled; protected ones once, or not at all."""
    sizes = tokens.values.new_ones(len(tokens.values)) if tokens.sizes is None else tokens.sizes.to(tokens.values)
    if prefix or not tokens.prefix:
        return sizes
    rows = tokens.offsets[:, None] + torch.arange(tokens.prefix)
    return sizes.index_fill(0, rows.flatten().to(sizes.device), 0.0)


def _average(tokens: TokenBatch, weights: Tensor) -> Tensor:
    image = tokens.image_of_token
    total = weights.new_zeros(len(tokens)).index_add(0, image, weights)
    summed = tokens.values.new_zeros(len(tokens), tokens.values.shape[-1])
    return summed.index_add(0, image, tokens.values * weights[:, None]) / total[:, None]


def _attend(pool: Any, tokens: TokenBatch, weights: Tensor) -> Tensor:
    values, _ = tokens.padded()
    scores = tokens.with_values(weights[:, None]).padded()[0].log()  # log of the weight; padding counts 0 times
    return pool(values, attn_mask=scores.view(len(tokens), 1, 1, -1).expand(-1, -1, pool.latent_len, -1))


def _forward(part: Any) -> Any:
    return getattr(type(part), "forward", None)


# What the functions above read correctly. Anything else is refused, whatever attributes it has.
BACKBONES = (vit.VisionTransformer.forward_features, eva.Eva.forward_features, beit.Beit.forward_features)
HEADS = (
    vit.VisionTransformer.forward_head,
    VisionTransformerDistilled.forward_head,
    TokenAndMean.forward_head,
    FirstTwo.forward_head,
    eva.Eva.forward_head,
    beit.Beit.forward_head,
)
POST_NORM = (vit.ResPostBlock.forward, eva.EvaBlockPostNorm.forward)
BLOCKS = (vit.Block.forward, eva.EvaBlock.forward, beit.Block.forward, *POST_NORM)
ROPE = getattr(layers, "AttentionRope", eva.EvaAttention)  # older timm has only the attention of EVA
ATTENTIONS = (Attention.forward, ROPE.forward, eva.EvaAttention.forward, beit.Attention.forward)


def check(model: Any) -> None:
    """Raise `AtmError` in one line if the encoder cannot run this model."""
    if isinstance(model, Bert):
        return
    kind = type(model)
    if getattr(kind, "forward_features", None) not in BACKBONES or getattr(kind, "forward_head", None) not in HEADS:
        names = ", ".join(family.name for family in supported_families())
        raise AtmError(
            f"{kind.__name__} is not supported as a victim: every image must stay one plain sequence of tokens, as in "
            f"timm's {names}"
        )
    for part, known in ((model.blocks, BLOCKS), ([block.attn for block in _with_attention(model)], ATTENTIONS)):
        strange = [type(each).__name__ for each in part if _forward(each) not in known]
        if strange:
            raise AtmError(f"{kind.__name__} with {strange[0]} is not supported as a victim; use timm's usual blocks")
    if model.global_pool not in ("token", "avg", "map"):
        raise AtmError(
            f"{kind.__name__} with pooling {model.global_pool!r} is not supported as a victim; use token, avg or map"
        )
    pool = getattr(model, "attn_pool", None)
    if pool is not None and (not isinstance(pool, AttentionPoolLatent) or pool.pos_embed is not None):
        raise AtmError(f"{kind.__name__} with {type(pool).__name__} that has positions is not supported as a victim")


def _with_attention(model: Any) -> list[Any]:
    return [block for block in model.blocks if hasattr(block, "attn")]
