"""Self-attention over ragged tokens: each image attends within itself, and no image is padded on a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from timm.layers import apply_rot_embed_cat
from torch import Tensor, nn
from torch.nn.functional import linear, pad, scaled_dot_product_attention

from atm.families import Positions
from atm.tokens import TokenBatch

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # of torch before 2.10
    varlen_attn = None  # type: ignore[assignment]

AMPERE = (8, 0)  # the oldest GPUs that it runs on
EXTRA, WIDEST = 8, 256  # of heads that FlashAttention takes: multiples of the one, up to the other


def attend(
    attn: Any, x: Tensor, tokens: TokenBatch, positions: Positions | None = None, proportional: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Self-attention inside each image with the weights of one of timm's attention modules.

    Args:
        attn: the module; q/k norms, gates, norms of its output and grouped keys are done as it does them.
        x: ``[T, d]``, its input.
        tokens: whose images these are; with ``places`` where ``positions`` is given.
        positions: rotary table or bias of this layer.
        proportional: whether a token draws attention in proportion to its size.

    Returns:
        ``[T, d]`` output, and the keys and values ``[T, heads, h]`` as projected: before norm and rotation.
    """
    queries, keys, values = project(attn, x)
    q, k, bias = _optional(attn, "q_norm", queries), _optional(attn, "k_norm", keys), None
    if positions is not None:
        assert tokens.places is not None
        if positions.rotary is not None:
            table = positions.rotary[tokens.places]
            q, k = (apply_rot_embed_cat(part, table, half=positions.half).to(values.dtype) for part in (q, k))
        bias = positions.bias
    groups = q.shape[1] // k.shape[1]
    weights = tokens.sizes.log().to(x.dtype) if proportional and tokens.sizes is not None else None
    mixed = ragged_attention(
        q, k.repeat_interleave(groups, 1) if groups > 1 else k,
        values.repeat_interleave(groups, 1) if groups > 1 else values, tokens, weights, bias,
    )  # fmt: skip
    out = _optional(attn, "norm", mixed.flatten(1))
    if getattr(attn, "gate", None) is not None:
        out = out * attn.gate(x).sigmoid()
    return attn.proj(out), keys, values


def _optional(attn: Any, name: str, x: Tensor) -> Tensor:
    part = getattr(attn, name, None)
    return x if part is None or isinstance(part, nn.Identity) else part(x)


def project(attn: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values ``[T, heads, h]`` of ``[T, d]``; keys and values may have fewer heads."""
    if attn.qkv is None:
        head = attn.q_proj.out_features // attn.num_heads
        q, k, v = (part(x).unflatten(-1, (-1, head)) for part in (attn.q_proj, attn.k_proj, attn.v_proj))
        return q, k, v
    if getattr(attn, "q_bias", None) is None:
        packed = attn.qkv(x)
    else:
        packed = linear(x, attn.qkv.weight, torch.cat((attn.q_bias, attn.k_bias, attn.v_bias)))
    q, k, v = packed.unflatten(-1, (3, attn.num_heads, -1)).unbind(1)
    return q, k, v


def ragged_attention(
    queries: Tensor, keys: Tensor, values: Tensor, tokens: TokenBatch, weights: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Attention of ``[T, heads, h]`` inside each image.

    Images of equal length go through one batched call. Others go one at a time on a CPU, where a call costs some
    microseconds and padding or sorting them into buckets was slower but near ten tokens (see benchmarks/engine.md),
    and all in one call elsewhere, where each call is a launch: by FlashAttention's kernel for ragged batches in half
    precision on CUDA, else padded together.

    Args:
        queries: ``[T, heads, h]``; keys and values likewise.
        keys: as queries.
        values: as queries.
        tokens: whose images these are.
        weights: ``[T]``, added to the scores of each key.
        bias: ``[heads, places, places]``, added to the scores between two tokens' places.
    """
    if tokens.uniform:
        parts = [part.unflatten(0, (len(tokens), -1)) for part in (queries, keys, values)]
        places = None if bias is None or tokens.places is None else tokens.places.view(len(tokens), -1)
        mask = _mask(None if weights is None else weights.view(len(tokens), -1), bias, places)
        return _sdpa(parts[0], parts[1], parts[2], mask).flatten(0, 1)
    if bias is None and _flashes(queries):
        return _varlen(queries, keys, values, tokens, weights)
    if queries.device.type != "cpu":
        return _padded(queries, keys, values, tokens, weights, bias)
    # one split gives the views of all images, [1, heads, n, h]
    q, k, v = (part.transpose(0, 1).unsqueeze(0).split(tokens.counts, 2) for part in (queries, keys, values))
    if weights is None and bias is None and queries.dtype != torch.bfloat16:
        each = map(scaled_dot_product_attention, q, k, v)
    else:
        each = map(_fused, q, k, v, _masks(tokens, weights, bias))
    return torch.cat([mixed.transpose(1, 2) for mixed in each], 1)[0]


def _masks(tokens: TokenBatch, weights: Tensor | None, bias: Tensor | None) -> Iterator[Tensor | None]:
    """The mask of each image; see `_mask`."""
    for begin, count in zip(tokens.offsets.tolist(), tokens.counts, strict=True):
        rows = slice(begin, begin + count)
        places = None if bias is None or tokens.places is None else tokens.places[None, rows]
        yield _mask(None if weights is None else weights[None, rows], bias, places)


def _flashes(queries: Tensor) -> bool:
    """Whether FlashAttention's kernel takes these."""
    if varlen_attn is None or queries.device.type != "cuda" or queries.shape[-1] + EXTRA > WIDEST:
        return False
    half = queries.dtype in (torch.bfloat16, torch.float16)
    return half and torch.cuda.get_device_capability(queries.device) >= AMPERE


def _varlen(queries: Tensor, keys: Tensor, values: Tensor, tokens: TokenBatch, weights: Tensor | None) -> Tensor:
    """All images in one call, and nothing filled up.

    The kernel adds nothing to the scores, so ``weights`` go into one more value of each head: 1 / scale in queries,
    the weight in keys. Heads are as wide as a multiple of `EXTRA`.
    """
    assert varlen_attn is not None
    width = queries.shape[-1]
    spare = -width % EXTRA + (0 if weights is None or width % EXTRA else EXTRA)
    q, k, v = (pad(part, (0, spare)) for part in (queries, keys, values))
    if weights is not None:
        q[..., width] = width**0.5
        k[..., width] = weights[:, None]
    ends = pad(torch.cumsum(tokens.lengths, 0), (1, 0)).to(q.device, torch.int32)
    most = max(tokens.counts)
    mixed = varlen_attn(q, k, v, ends, ends, most, most, scale=width**-0.5)
    assert isinstance(mixed, Tensor)  # as nothing else was asked for
    return mixed[..., :width]


def _padded(
    queries: Tensor, keys: Tensor, values: Tensor, tokens: TokenBatch, weights: Tensor | None, bias: Tensor | None
) -> Tensor:
    """All images in one call, filled up to the longest; what fills draws no attention."""
    parts = [tokens.with_values(part.flatten(1)).padded() for part in (queries, keys, values)]
    q, k, v = (part.unflatten(-1, (queries.shape[1], -1)) for part, _ in parts)
    real = parts[0][1]
    score = values.new_zeros(real.shape)
    if weights is not None:
        score = tokens.with_values(weights[:, None]).padded()[0].squeeze(-1)
    places = None if bias is None or tokens.places is None else tokens.with_values(tokens.places[:, None]).padded()[0]
    mask = _mask(score.masked_fill(~real, -torch.inf), bias, None if places is None else places.squeeze(-1))
    return _sdpa(q, k, v, mask).flatten(0, 1)[tokens.rows_in_padded]


def _mask(weights: Tensor | None, bias: Tensor | None, places: Tensor | None) -> Tensor | None:
    """``[B, heads or 1, 1 or n, n]`` of what is added to the scores, from ``[B, n]`` weights and places."""
    mask = None if weights is None else weights[:, None, None, :]
    if bias is None or places is None:
        return mask
    between = bias[:, places[:, :, None], places[:, None, :]].transpose(0, 1)
    return between if mask is None else between + mask


def _sdpa(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of ``[B, n, heads, h]``, in the same layout."""
    q, k, v = (part.transpose(1, 2) for part in (queries, keys, values))
    return _fused(q, k, v, mask).transpose(1, 2)


def _fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of ``[B, heads, n, h]``, in the same layout."""
    if mask is not None:
        mask = mask.expand(-1, -1, q.shape[2], -1)
    if q.dtype == torch.bfloat16 and q.device.type == "cpu":
        # The way back of a CPU's fused attention takes four times as long in bfloat16 as in float32.
        with torch.autocast("cpu", enabled=False):
            mask = None if mask is None else mask.float()
            return scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask).to(q.dtype)
    return scaled_dot_product_attention(q, k, v, attn_mask=mask)
