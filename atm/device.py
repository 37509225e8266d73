"""Where tensors are computed.

Weights, pictures and tokens live on one device; lengths, random draws and what is decided about them stay on the CPU.
So a run draws the same numbers on every device, and differs between two of them by rounding alone.
"""

from __future__ import annotations

import torch

from atm.errors import AtmError, unknown

AUTO = "auto"
KINDS = ("cuda", "mps", "xpu")  # of accelerators, beside those that a program registers itself


def resolve(name: str) -> torch.device:
    """A device by name: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; ``auto`` is CUDA where there is one, else the CPU.

    Raises:
        AtmError: there is none of that name here.
    """
    if name == AUTO:
        return torch.device("cuda" if _count("cuda") else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise unknown("device", name, [AUTO, "cpu", "cuda", "cuda:1", "mps"]) from None
    if device.type != "cpu" and (device.index or 0) >= _count(device.type):
        there = ["cpu", *(f"{kind}:{index}" for kind in KINDS for index in range(_count(kind)))]
        raise AtmError(f"device {name!r} is not there: PyTorch finds {', '.join(there)}")
    return device


def _count(kind: str) -> int:
    """How many devices of a kind can be used."""
    count = getattr(getattr(torch, kind, None), "device_count", None)
    return 0 if count is None else int(count())
