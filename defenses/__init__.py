"""What the device does to tokens before they leave; each is one file with a subclass of `atm.defence.Defence`.

Part of the distribution ``atm-privacy``.
"""

from __future__ import annotations

import copy
import inspect
import sys
from typing import Any

import torch
from torch import Tensor

from atm.defence import Defence
from atm.errors import AtmError, unknown
from atm.link import Link
from atm.plugins import discover
from atm.policy import MergePolicy
from defenses.base import Chain

CALIBRATION = 512  # images that a defence is fitted on, at most


def available() -> dict[str, type[Any]]:
    """Every defence by name: those in this folder and those of other installed packages."""
    return discover(sys.modules[__name__], "atm.defenses", Defence)


def create(text: str) -> Defence:
    """The defence that a text such as ``gaussian:0.5`` or ``drop:0.5+gaussian:0.2`` names, not yet fitted.

    Names are joined by ``+`` in the order in which the device applies them; behind a colon stand the numbers that the
    class is made with.

    Raises:
        AtmError: an unknown name, or parameters that the defence cannot have.
    """
    parts = [_create(part.strip()) for part in text.split("+")]
    return parts[0] if len(parts) == 1 else Chain(text, tuple(parts))


def _create(text: str) -> Defence:
    name, _, rest = text.partition(":")
    known = available()
    if name not in known:
        raise unknown("defence", name, known)
    numbers = [_number(word, text) for word in rest.split(":")] if rest else []
    try:
        inspect.signature(known[name]).bind(*numbers)
    except TypeError as error:
        raise AtmError(f"defence {text!r}: {error}") from None
    made: Defence = known[name](*numbers)
    return made


def _number(word: str, text: str) -> float:
    try:
        value = float(word)
    except ValueError:
        raise AtmError(f"defence {text!r}: {word!r} is no number; write for example gaussian:0.5") from None
    return int(value) if value.is_integer() else value


def fitted(defence: Defence, link: Link, images: Tensor, seed: int = 0) -> Link:
    """A link under a copy of a defence that is ready to protect the tokens of its exit layer, and of no other.

    It is fitted once, on unmerged tokens, so that the same defence meets every policy that sends after this layer.

    Args:
        defence: from `create`; it stays as it is, so that it can be fitted to other layers as well.
        link: the system without a defence.
        images: ``[N, C, H, W]`` in [0, 1], calibration images such as auxiliary ones, never the victims'.
        seed: of what is random in the fit.
    """
    layer = link.policy.device_layers
    dense = MergePolicy.uniform(1.0, link.encoder.depth, exit_layer=layer)
    made = copy.deepcopy(defence)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        made.fit(link.with_policy(dense), images[:CALIBRATION])
    made.fitted_at = layer
    return link.with_defence(made)


__all__ = ["Defence", "available", "create", "fitted"]
