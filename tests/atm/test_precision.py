"""Products are taken in bfloat16 only where that is fast, and everything runs either way."""

from __future__ import annotations

import pytest
import torch

from atm import precision
from atm.attention import ragged_attention
from atm.tokens import TokenBatch


@pytest.mark.parametrize("able", [True, False])
def test_products_and_what_is_kept_for_them_follow_the_hardware(monkeypatch, able):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: able)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    precision.multiplies_bfloat16.cache_clear()
    expected = torch.bfloat16 if able else torch.float32
    try:
        x = torch.rand(4, 4)
        with precision.fast(x.device):
            assert (x @ x).dtype == expected
        assert precision.stored(x).dtype == expected
    finally:
        precision.multiplies_bfloat16.cache_clear()


def test_where_pytorch_does_not_tell_it_is_float32(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    monkeypatch.delattr(torch.cpu, "_is_amx_tile_supported")
    precision.multiplies_bfloat16.cache_clear()
    try:
        assert not precision.multiplies_bfloat16("cpu")
    finally:
        precision.multiplies_bfloat16.cache_clear()


@pytest.mark.parametrize("lengths", [[5, 5], [3, 6]])
def test_attention_in_bfloat16_gives_about_what_it_gives_in_float32_and_lets_gradients_pass(lengths):
    torch.manual_seed(0)
    tokens = TokenBatch(torch.randn(sum(lengths), 8), torch.tensor(lengths))
    parts = [torch.randn(sum(lengths), 2, 4) for _ in range(3)]
    short = [part.bfloat16().requires_grad_() for part in parts]
    found, weights = ragged_attention(*short, tokens), torch.randn(sum(lengths), 2, 4)
    found.float().mul(weights).sum().backward()
    full = [part.detach().float().requires_grad_() for part in short]
    wanted = ragged_attention(*full, tokens)
    wanted.mul(weights).sum().backward()
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), wanted, atol=0.02, rtol=0.02)
    for own, reference in zip(short, full, strict=True):
        torch.testing.assert_close(own.grad.float(), reference.grad, atol=0.05, rtol=0.05)
