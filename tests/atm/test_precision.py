"""Products are taken in bfloat16 only where that is fast, and everything runs either way."""

from __future__ import annotations

import pytest
import torch

from atm import precision


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
