"""NaN and infinities are refused where they enter: an argmax over NaN looks like an answer."""

from __future__ import annotations

from torch import Tensor

from atm.errors import AtmError


def check_finite(name: str, tensor: Tensor) -> None:
    """Raise `AtmError` in one line if a tensor holds NaN or an infinity.

    Args:
        name: what it is, for the message: ``"weights x.safetensors: head.weight"``, ``"logits"``.
        tensor: of any shape and type.
    """
    if tensor.is_floating_point() or tensor.is_complex():
        bad = int((~tensor.isfinite()).sum())
        if bad:
            raise AtmError(f"{name}: {bad} of {tensor.numel()} values are NaN or infinite")
