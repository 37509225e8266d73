"""How much memory tensors hold at once, counted exactly and on any device: the same code, the same number."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Counter(TorchDispatchMode):
    """Adds a storage when an operation makes it, and takes it off when the last tensor on it is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, int] = {}
        self.held = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves(args) if isinstance(leaf, torch.Tensor)}
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, torch.Tensor):
                self._add(leaf.untyped_storage(), known)
        return out

    def _add(self, storage: torch.UntypedStorage, known: set[int]) -> None:
        address, size = storage.data_ptr(), storage.nbytes()
        if not size or address in self.live or address in known:  # a view, or an input that was there before
            return
        self.live[address] = size
        self.held += size
        self.peak = max(self.peak, self.held)
        weakref.finalize(storage, self._remove, address)

    def _remove(self, address: int) -> None:
        self.held -= self.live.pop(address, 0)


def peak_bytes(run: Callable[[], object]) -> int:
    """The most bytes that tensors made during ``run`` hold at any moment; inputs and weights do not count."""
    counter = _Counter()
    with counter:
        run()
    return counter.peak
