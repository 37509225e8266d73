"""In which precision networks are trained: bfloat16 where the hardware multiplies it, float32 elsewhere."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

import torch


@cache
def multiplies_bfloat16(device: str) -> bool:
    """Whether a kind of device (``cpu``, ``cuda``, …) has instructions for it.

    Without them a CPU emulates each product: a training step of the learned decoder took eleven times as long as in
    float32 on one with AVX2.
    """
    if device == "cpu":
        # PyTorch tells this only under names of its own; where it tells nothing, float32 is the safe answer.
        told = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(bool(getattr(torch.cpu, name, lambda: False)()) for name in told)
    return device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def fast(device: torch.device | str) -> AbstractContextManager[None]:
    """Within it, products are taken in bfloat16 where that is fast."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=multiplies_bfloat16(kind))


def stored(values: torch.Tensor) -> torch.Tensor:
    """Values that are kept for products within `fast`, in its precision."""
    return values.bfloat16() if multiplies_bfloat16(values.device.type) else values
