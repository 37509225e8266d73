"""A pretend accelerator: CPU memory behind a device of its own, where what a real one refuses is an error.

Within `pretend_device` tensors can be moved to the device ``pretend`` and back. Every operation is computed on the CPU;
tensors of two devices in one operation, NumPy's view of a tensor, and random numbers drawn anywhere but on the CPU are
errors, as they are, or should be, on a GPU. What a GPU allows is allowed: a tensor of no dimension beside others, CPU
indices into a tensor of the device, copies between devices.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

NAME = "pretend"
ATEN = torch.ops.aten
INDEXING = (ATEN.index, ATEN._unsafe_index, ATEN.index_put, ATEN.index_put_, ATEN._index_put_impl_)
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
    out = func(*_unwrapped(args), **_unwrapped(kwargs))
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


@cache
def _register() -> None:
    """Once in a process; the name cannot be given back."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())


@contextmanager
def pretend_device() -> Iterator[torch.device]:
    """The device, within the context."""
    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this PyTorch has no Python backends")
    _register()
    made = torch.tensor  # which no mode sees

    def tensor(data: Any, *, device: Any = None, **options: Any) -> Tensor:
        there = device is not None and torch.device(device).type == NAME
        return made(data, **options).to(device) if there else made(data, device=device, **options)

    with pytest.MonkeyPatch.context() as patch, _Mode():
        patch.setattr(torch, "tensor", tensor)
        yield torch.device(NAME, 0)
