"""``atm convert``: a pickled state dict becomes safetensors. The only place that reads a pickle, as tensors alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atm.errors import AtmError
from atm.finite import check_finite
from atm.foreign import check_regular
from atm.weight_files import write_tensors

# Where training scripts put the state dict, in the order in which they are looked for.
NESTS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "module", "weights", "params")
OTHERS = ("model_ema", "state_dict_ema", "teacher", "student", "encoder", "backbone", "ema")


def convert(source: Path, target: Path) -> str:
    """Write the tensors of a pickled state dict as safetensors; a sentence that says what was found.

    The pickle is read with ``weights_only=True``: it can hold tensors, numbers, texts and containers, and no code.

    Raises:
        AtmError: it cannot be read so, or holds no state dict.
    """
    check_regular(source, str(source))
    try:
        content = torch.load(source, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise AtmError(f"{source}: no such file") from None
    except Exception as error:  # a damaged pickle can raise nearly anything
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise AtmError(
                f"{source} holds more than tensors, such as whole objects, and reading those can run code: save "
                "model.state_dict() instead, in the script that made it"
            ) from None
        raise AtmError(f"{source} cannot be read as a PyTorch file ({type(error).__name__})") from None
    state, nest = _state_dict(content, source)
    for name, tensor in state.items():
        check_finite(f"{source}: {name}", tensor)
    write_tensors(target, state)
    return f"wrote {target}: {len(state)} tensors" + (f", found under {nest}" if nest else "")


def _state_dict(content: Any, source: Path, nest: str = "") -> tuple[dict[str, Tensor], str]:
    """The tensors by name, and the keys under which they were found."""
    if isinstance(content, Mapping):
        tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        if tensors and not any(isinstance(value, Mapping) for value in content.values()):
            return tensors, nest
        inner = [key for key in (*NESTS, *OTHERS) if isinstance(content.get(key), Mapping)]
        if inner:
            return _state_dict(content[inner[0]], source, f"{nest}[{inner[0]!r}]")
        if tensors:
            return tensors, nest
    raise AtmError(f"{source} holds no state dict; save model.state_dict() in the script that made it")
