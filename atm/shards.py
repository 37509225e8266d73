"""A batch divided over a CPU's threads: each takes some images through all layers, and none waits for another.

Threads inside each operation wait for the slowest of them hundreds of times a batch, and longer where other work
takes a core. Images have nothing to do with each other before the codec, so threads need to meet only once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, TypeVar

import torch

Part = TypeVar("Part")
Result = TypeVar("Result")
Whole = TypeVar("Whole")


def shards(images: int, device: torch.device) -> list[slice]:
    """Which images each thread takes; one slice where they had better stay together.

    That is on an accelerator, where threads would share it; where gradients are kept, whose way back would run in one
    thread again; and where the caller's thread has a mode (autocast, a counter of operations), which others lack.
    """
    count = min(torch.get_num_threads(), images)
    if count < 2 or device.type != "cpu" or torch.is_grad_enabled() or has_mode():
        return [slice(0, images)]
    ends = torch.linspace(0, images, count + 1).round().long().tolist()
    return [slice(begin, end) for begin, end in pairwise(ends)]


def has_mode() -> bool:
    """Whether the caller's thread has a mode that sees or changes operations: autocast, a counter, a tracer."""
    modes = torch._C._len_torch_dispatch_stack() + torch._C._len_torch_function_stack()
    return modes > 0 or torch.is_autocast_enabled("cpu")


def in_threads(run: Callable[[Part], Result], parts: Sequence[Part], join: Callable[[list[Result]], Whole]) -> Whole:
    """``run`` of each part in a thread of its own, whose operations use that thread only; results are joined in order.

    One of these threads joins them, too. An operation that the caller's thread divides would leave helpers behind that
    wait for the next one, and keep the cores busy for milliseconds (`benchmarks/engine.md`).
    """
    if len(parts) == 1:
        return join([run(parts[0])])
    threads, inference = torch.get_num_threads(), torch.is_inference_mode_enabled()

    def alone(call: Callable[[Any], Any], of: Any) -> Any:
        with torch.inference_mode() if inference else torch.no_grad():
            return call(of)

    try:
        pool = _pool(threads)
        return pool.submit(alone, join, list(pool.map(partial(alone, run), parts))).result()
    finally:
        torch.set_num_threads(threads)  # what threads of a pool set is the default of every new thread


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that stay: each keeps what its libraries prepare for it."""
    return ThreadPoolExecutor(threads, "shard", torch.set_num_threads, (1,))


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
