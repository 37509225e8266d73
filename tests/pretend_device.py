"""A pretend accelerator: CPU memory behind a device of its own, where what a real one refuses is an error.

Within `pretend_device` tensors can be moved to the device ``pretend`` and back. Every operation is computed on the CPU;
tensors of two devices in one operation, NumPy's view of a tensor, and random numbers drawn anywhere but on the CPU are
errors, as they are, or should be, on a GPU. What a GPU allows is allowed: a tensor of no dimension beside others, CPU
indices into a tensor of the device, copies between devices.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

NAME = "pretend"
ATEN = torch.ops.aten
INDEXING = (ATEN.index, ATEN._unsafe_index, ATEN.index_put, ATEN.index_put_, ATEN._index_put_impl_)
# Bits that say 'read me conjugated' or 'negated' are looked at before an operation comes here: copies instead of views.
PHYSICAL = {ATEN._conj.default: ATEN._conj_physical.default, ATEN._neg_view.default: ATEN.neg.default}
COPYING = (ATEN.copy_, ATEN._to_copy, ATEN.set_)


class DeviceError(RuntimeError):
    """What a real accelerator refuses."""


class PretendTensor(Tensor):
    """A tensor of the pretend device; ``inner`` holds its numbers on the CPU."""

    inner: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor) -> PretendTensor:
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, inner.stride(), inner.storage_offset(), dtype=inner.dtype, device=torch.device(NAME, 0)
        )
        made.inner = inner
        return made

    def __repr__(self) -> str:  # type: ignore[override]
        return f"pretend({self.inner!r})"

    def tolist(self) -> Any:  # PyTorch has none for subclasses
        return self.inner.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Mode(TorchDispatchMode):
    """Sees what has no tensor of the device yet: its making, and the moving of others to it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Making(TorchFunctionMode):
    """Tensors of Python's numbers are made where no dispatch mode sees it: on the CPU, and moved."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        asked = kwargs.get("device")
        if func in (torch.tensor, torch.as_tensor) and asked is not None and torch.device(asked).type == NAME:
            kwargs.pop("device")
            return func(*args, **kwargs).to(asked)
        return func(*args, **kwargs)


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    ours = any(isinstance(tensor, PretendTensor) for tensor in tensors)
    asked = kwargs.get("device")
    there = ours if asked is None else torch.device(asked).type == NAME
    if ours:
        _refuse_mixed(func, args, tensors)
    if there and torch.Tag.nondeterministic_seeded in func.tags and "attention" not in str(func):
        raise DeviceError(f"{func} draws random numbers on the device; draw on the CPU and move them")
    if asked is not None:
        kwargs = {**kwargs, "device": torch.device("cpu") if there else asked}
    out = (PHYSICAL.get(func, func) if ours else func)(*_unwrapped(args), **_unwrapped(kwargs))
    if func._schema.is_mutable and isinstance(out, Tensor):
        return kwargs.get("out", args[0])
    return tree_map_only(Tensor, PretendTensor, out) if there else out


def _refuse_mixed(func: Any, args: Any, tensors: list[Tensor]) -> None:
    if func.overloadpacket in COPYING:
        return
    if func.overloadpacket in INDEXING and isinstance(args[0], PretendTensor):
        tensors = [tensor for tensor in args if isinstance(tensor, Tensor)]  # a GPU takes the CPU's indices
    strange = [tensor for tensor in tensors if not isinstance(tensor, PretendTensor) and tensor.ndim > 0]
    if strange:
        shapes = ", ".join(f"{list(tensor.shape)} on {tensor.device}" for tensor in tensors)
        raise DeviceError(f"{func} got tensors of two devices: {shapes}")


def _unwrapped(tree: Any) -> Any:
    return tree_map_only(PretendTensor, lambda tensor: tensor.inner, tree)


class _Module(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return []

    def get_rng_state(self, *_: Any) -> Tensor:  # there is nothing random on the device
        return torch.empty(0, dtype=torch.uint8)

    def set_rng_state(self, *_: Any) -> None:
        pass


POSSIBLE = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")
if POSSIBLE:
    # When this is imported, since autograd counts the devices once, before the first backward pass of the process.
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())


@contextmanager
def pretend_device() -> Iterator[torch.device]:
    """The device, within the context."""
    if not POSSIBLE:
        pytest.skip("this PyTorch has no Python backends")
    with _Making(), _Mode():
        yield torch.device(NAME, 0)
