"""A timm vision transformer that runs under a merging policy, on packed tokens.

Linear layers see the packed ``[T, d]``; attention alone needs to know where an image ends. Layers that merge nothing
compute exactly what timm computes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

from atm import merging
from atm.errors import AtmError
from atm.policy import MergePolicy
from atm.tokens import TokenBatch


@dataclass(frozen=True)
class Encoded:
    """What the device computed.

    Attributes:
        tokens: the tokens that are left, at the exit layer.
        layer_tokens: ``[layers + 1, B]`` int64, tokens of each image before each layer, and at the exit.
        flops: ``[B]`` float64, floating-point operations (a multiply and an add are two) spent on each image, as
            `torch.utils.flop_counter` counts them: patch embedding, linear layers, attention and matching.
    """

    tokens: TokenBatch
    layer_tokens: Tensor
    flops: Tensor


class Encoder(nn.Module):
    """Device and server parts of one vision transformer.

    Args:
        vit: timm's model, as it is.
        mean: per-channel mean that the model expects its input to be normalised with.
        std: per-channel deviation, likewise.

    Raises:
        AtmError: the model is not built as this encoder can run it.
    """

    def __init__(
        self, vit: VisionTransformer, mean: tuple[float, ...] = (0.5,) * 3, std: tuple[float, ...] = (0.5,) * 3
    ) -> None:
        super().__init__()
        check_supported(vit)
        self.vit = vit
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self._embedding_flops = _count_flops(vit.patch_embed, self.image_size)

    @property
    def depth(self) -> int:
        """Number of transformer layers."""
        return len(self.vit.blocks)

    @property
    def width(self) -> int:
        """Values per token."""
        return int(self.vit.embed_dim)

    @property
    def image_size(self) -> int:
        """Side of the input images in pixels."""
        return int(self.vit.patch_embed.img_size[0])

    @property
    def patch_grid(self) -> tuple[int, int]:
        """Patches down and across."""
        rows, columns = self.vit.patch_embed.grid_size
        return int(rows), int(columns)

    def normalise(self, images: Tensor) -> Tensor:
        """Images in [0, 1] as the model expects them."""
        return (images - self.mean) / self.std

    def forward(self, images: Tensor, policy: MergePolicy) -> Encoded:
        """Run the device's layers under a policy.

        Args:
            images: ``[B, 3, H, W]`` float in [0, 1].
            policy: one rule for each layer of the model.

        Raises:
            AtmError: images of another size than the model's, or a policy of another depth.
        """
        policy.for_depth(self.depth)
        if images.shape[1:] != (3, self.image_size, self.image_size):
            raise AtmError(f"images of shape {list(images.shape[1:])} do not fit a victim for {self.image_size} pixels")
        vit = self.vit
        x = vit.norm_pre(vit._pos_embed(vit.patch_embed(self.normalise(images))))
        tokens = TokenBatch.dense(x, vit.num_prefix_tokens)
        counts = [tokens.lengths]
        flops = torch.full((len(images),), self._embedding_flops, dtype=torch.float64)
        for layer, block in enumerate(vit.blocks[: policy.device_layers]):
            before = tokens.lengths
            tokens = self._layer(block, tokens, policy, layer)
            counts.append(tokens.lengths)
            flops += self._layer_flops(block, before, tokens.lengths, policy, layer)
        return Encoded(tokens, torch.stack(counts), flops)

    def finish(self, tokens: TokenBatch, policy: MergePolicy) -> Tensor:
        """The server's part: the layers after the exit, then the task head. ``[B, classes]`` logits."""
        vit = self.vit
        for layer in range(policy.device_layers, self.depth):
            tokens = self._layer(vit.blocks[layer], tokens, policy, layer)
        x = vit.norm(tokens.values)
        pooled = vit.fc_norm(self._pool(tokens.with_values(x)))
        return vit.head(vit.head_drop(pooled))

    def _pool(self, tokens: TokenBatch) -> Tensor:
        if self.vit.global_pool == "token":
            return tokens.protected()[:, 0]
        # The average over patches, so that a token that stands for many counts as many.
        image, device = tokens.image_of_token, tokens.values.device
        first = tokens.offsets.to(device)[image]
        is_patch = torch.arange(len(image), device=device) - first >= tokens.prefix
        weight = is_patch.float() if tokens.sizes is None else tokens.sizes * is_patch
        total = torch.zeros(len(tokens), device=device).index_add(0, image, weight)
        summed = tokens.values.new_zeros(len(tokens), tokens.values.shape[-1])
        return summed.index_add(0, image, tokens.values * weight[:, None]) / total[:, None]

    def _layer(self, block: nn.Module, tokens: TokenBatch, policy: MergePolicy, layer: int) -> TokenBatch:
        attended, keys, values = _attention(block.attn, block.norm1(tokens.values), tokens, policy)
        tokens = tokens.with_values(tokens.values + block.ls1(attended))
        if policy.merges_at(layer):
            metric = {"value": values, "key": keys, "hidden": tokens.values}[policy.match]
            matches = merging.match(tokens, metric)
            if policy.remove:
                matches = merging.most_similar(tokens, matches, policy.remove[layer])
            else:
                matches = merging.above(matches, policy.thresholds[layer])
            tokens = merging.merge(tokens, matches, policy.average)
        return tokens.with_values(tokens.values + block.ls2(block.mlp(block.norm2(tokens.values))))

    def _layer_flops(self, block: nn.Module, before: Tensor, after: Tensor, policy: MergePolicy, layer: int) -> Tensor:
        n, m, width = before.double(), after.double(), self.width
        flops = 2 * n * (_weights(block.attn.qkv) + _weights(block.attn.proj)) + 4 * n * n * width
        if policy.merges_at(layer):
            free = n - self.vit.num_prefix_tokens
            flops = flops + 2 * torch.ceil(free / 2) * torch.floor(free / 2) * width
        return flops + 2 * m * sum(_weights(part) for part in block.mlp.modules() if isinstance(part, nn.Linear))


def _attention(attn: nn.Module, x: Tensor, tokens: TokenBatch, policy: MergePolicy) -> tuple[Tensor, Tensor, Tensor]:
    """Self-attention inside each image; also the keys and values ``[T, d]`` of all heads side by side."""
    heads = attn.num_heads
    queries, keys, values = attn.qkv(x).unflatten(-1, (3, heads, -1)).unbind(1)
    bias = None
    if policy.proportional_attention and tokens.sizes is not None:
        bias = tokens.sizes.log().to(x.dtype)
    mixed = ragged_attention(attn.q_norm(queries), attn.k_norm(keys), values, tokens, bias)
    return attn.proj(attn.norm(mixed.flatten(1))), keys.flatten(1), values.flatten(1)


def ragged_attention(queries: Tensor, keys: Tensor, values: Tensor, tokens: TokenBatch, bias: Tensor | None) -> Tensor:
    """Attention of ``[T, heads, h]`` inside each image, without padding; ``bias [T]`` is added to every key's score."""
    if tokens.uniform:
        return _attend(queries, keys, values, bias, len(tokens))
    out = []
    begin = 0
    for count in tokens.counts:
        rows = slice(begin, begin + count)
        out.append(_attend(queries[rows], keys[rows], values[rows], None if bias is None else bias[rows], 1))
        begin += count
    return torch.cat(out)


def _attend(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None, images: int) -> Tensor:
    q, k, v = (t.unflatten(0, (images, -1)).transpose(1, 2) for t in (queries, keys, values))
    mask = None if bias is None else bias.view(images, 1, 1, -1).expand(-1, -1, q.shape[2], -1)
    return scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(0, 1)


def _count_flops(embedding: nn.Module, size: int) -> float:
    """Operations that the patch embedding spends on one image."""
    parameter = next(embedding.parameters())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        embedding.eval()(torch.zeros(1, 3, size, size, device=parameter.device, dtype=parameter.dtype))
    return float(counter.get_total_flops())


def _weights(linear: nn.Module) -> int:
    return int(linear.weight.numel())


def check_supported(vit: nn.Module) -> None:
    """Raise `AtmError` in one line if the encoder cannot run this model."""
    if not isinstance(vit, VisionTransformer) or vit.global_pool not in ("token", "avg"):
        raise AtmError(
            f"{type(vit).__name__} is not supported as a victim; use a plain timm VisionTransformer with class "
            "token or average pooling"
        )
