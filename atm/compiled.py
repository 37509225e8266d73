"""Where compiled code takes the place of a hundred small calls: float32 on a CPU, without gradients, numba installed.

It gives what torch's operations give, to rounding, in a half to a tenth of the time (benchmarks/engine.md). Everything
else, and every machine without the extra ``fast``, takes the operations.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from atm.policy import Average, MergePolicy
from atm.shards import has_mode
from atm.tokens import TokenBatch

NO_PLACES = np.empty(0, np.int64)


@lru_cache(maxsize=1)
def kernels() -> ModuleType | None:
    """The compiled loops, or None without numba, which is loaded by the first merge.

    Also without any place where numba may keep what it compiled.
    """
    try:
        from atm import kernels
    except (ImportError, RuntimeError):
        return None
    return kernels


def takes(tokens: TokenBatch, metric: Tensor) -> bool:
    """Whether compiled code can merge these, and no one would miss the operations."""
    numbers = (tokens.values, metric, tokens.sizes)
    plain = all(x is not None and x.dtype == torch.float32 and x.device.type == "cpu" for x in numbers)
    kept = tokens.values.requires_grad or metric.requires_grad
    return plain and tokens.source is not None and not kept and not has_mode() and kernels() is not None


def merged(tokens: TokenBatch, metric: Tensor, policy: MergePolicy, layer: int) -> TokenBatch:
    """What `atm.merging` makes of tokens at a layer of a policy that matches by place or as ToMe does.

    Args:
        tokens: with sizes and merge map.
        metric: ``[T, m]``, what is compared.
        policy: what merges.
        layer: its number.
    """
    loops = kernels()
    assert loops is not None and tokens.sizes is not None and tokens.source is not None
    average: dict[Average, int] = {"norm": loops.NORM, "size": loops.SIZE, "mean": loops.MEAN}
    flat, stride = _flat(metric)
    x, lengths, sizes, source, places = loops.merge(
        _array(tokens.values), flat, stride, metric.shape[1], tokens.lengths.numpy(), _array(tokens.sizes),
        _array(tokens.source), NO_PLACES if tokens.places is None else _array(tokens.places), tokens.prefix,
        tokens.prefix % 2 if policy.order == "tome" else 0, np.float32(policy.thresholds[layer]),
        policy.remove[layer] if policy.remove else -1, policy.similarity == "size-aware", average[policy.average],
        policy.order == "tome",
    )  # fmt: skip
    return TokenBatch(
        torch.from_numpy(x), torch.from_numpy(lengths), torch.from_numpy(sizes), torch.from_numpy(source),
        tokens.prefix, None if tokens.places is None else torch.from_numpy(places),
    )  # fmt: skip


def _array(x: Tensor) -> np.ndarray:
    return x.detach().contiguous().numpy()


def _flat(rows: Tensor) -> tuple[np.ndarray, int]:
    """Rows ``[T, ...]``, each of neighbouring numbers, as they lie in memory; and how far apart they begin."""
    if len(rows) and not rows[0].is_contiguous():
        rows = rows.contiguous()
    count, stride = rows[:1].numel(), rows.stride(0)
    return rows.as_strided((stride * (len(rows) - 1) + count if len(rows) else 0,), (1,)).numpy(), stride
