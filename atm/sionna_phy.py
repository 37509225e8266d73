"""NVIDIA's Sionna (arXiv 2203.11854), loaded when a channel or codec first needs it; it is an optional package."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import torch

from atm.errors import AtmError
from privacy_metrics.extras import extra


def require_sionna(what: str) -> None:
    """Raise `AtmError` unless the package is there; far quicker than loading it."""
    if importlib.util.find_spec("sionna") is None:
        raise AtmError(f"{what} needs Sionna, which is not installed; {extra('sionna')}")


def sionna(module: str) -> Any:
    """A module of ``sionna.phy``, such as ``mapping`` or ``fec.ldpc``; empty for ``sionna.phy`` itself.

    Raises:
        AtmError: the package is there and cannot be loaded.
    """
    # Its import gives torch's global generator a random seed, which would undo the caller's.
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        try:
            return importlib.import_module("sionna.phy" + (f".{module}" if module else ""))
        except ImportError as error:
            raise AtmError(f"Sionna cannot be loaded ({error}); {extra('sionna')}") from None


def seed_sionna(generator: torch.Generator | None) -> None:
    """Let Sionna's generator on the CPU go on from a number of ours; None leaves it to torch's global generator.

    Its own ``config.seed`` would also seed torch's global generator, which belongs to the caller.
    """
    number = int(torch.randint(2**62, (), generator=generator))
    sionna("").config.torch_rng("cpu").manual_seed(number)
