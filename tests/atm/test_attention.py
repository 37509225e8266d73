"""Ragged attention in one call is that of each image by itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from atm import attention
from atm.attention import ragged_attention
from atm.tokens import TokenBatch


def kernel(q: Tensor, k: Tensor, v: Tensor, ends: Tensor, other: Tensor, most: int, _: int, *, scale: float) -> Tensor:
    """What FlashAttention's kernel for ragged batches is documented to compute, and what it refuses."""
    assert ends.dtype == torch.int32 and torch.equal(ends, other) and int(ends.diff().max()) == most
    assert q.shape == k.shape == v.shape and q.shape[-1] % 8 == 0 and q.shape[-1] <= 256
    out = []
    for begin, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        parts = (part[begin:end].transpose(0, 1) for part in (q, k, v))
        out.append(scaled_dot_product_attention(*parts, scale=scale).transpose(0, 1))
    return torch.cat(out)


def drawn(lengths: list[int], heads: int, width: int, seed: int, dtype: torch.dtype = torch.float64):
    generator, total = torch.Generator().manual_seed(seed), sum(lengths)
    parts = [torch.randn(total, heads, width, generator=generator, dtype=torch.float64) for _ in range(3)]
    sizes = torch.randint(1, 20, (total,), generator=generator)
    tokens = TokenBatch(parts[0].flatten(1), torch.tensor(lengths), sizes.float())
    return [part.to(dtype) for part in parts], tokens, sizes.double().log().to(dtype)


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    heads=st.integers(1, 3),
    width=st.integers(1, 20),
    proportional=st.booleans(),
    seed=st.integers(0, 99),
)
def test_one_call_for_all_images(lengths, heads, width, proportional, seed):
    parts, tokens, logs = drawn(lengths, heads, width, seed)
    weights = logs if proportional else None
    expected = []
    for begin, length in zip(tokens.offsets.tolist(), lengths, strict=True):
        q, k, v = (part[begin : begin + length].transpose(0, 1) for part in parts)
        mask = None if weights is None else weights[None, None, begin : begin + length].expand(heads, length, -1)
        expected.append(scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(0, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "varlen_attn", kernel)
        found = attention._varlen(*parts, tokens, weights)
    torch.testing.assert_close(found, torch.cat(expected))
    torch.testing.assert_close(attention._padded(*parts, tokens, weights, None), torch.cat(expected))
    torch.testing.assert_close(ragged_attention(*parts, tokens, weights), torch.cat(expected))


@pytest.mark.gpu
@pytest.mark.parametrize("proportional", [False, True])
@pytest.mark.parametrize("width", [32, 64])
def test_the_kernel_itself(width, proportional):
    parts, tokens, logs = drawn([7, 197, 50, 1], 4, width, 0, torch.bfloat16)
    weights = logs if proportional else None
    expected = ragged_attention(*(part.float() for part in parts), tokens, None if weights is None else weights.float())
    placed = [part.cuda() for part in parts]
    assert attention._flashes(placed[0])
    found = ragged_attention(*placed, tokens, None if weights is None else weights.cuda())
    torch.testing.assert_close(found.cpu().float(), expected, rtol=0.03, atol=0.03)
