"""Attacks prepare once what several of them need: fitted against the same link for the same adversary, it is shared."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from atm.link import Link
from atm.threat import ThreatModel

A = TypeVar("A")
_quick: ContextVar[bool] = ContextVar("quick", default=False)
_fitted: WeakKeyDictionary[Any, dict[Any, Any]] = WeakKeyDictionary()


@contextmanager
def effort(quick: bool) -> Iterator[None]:
    """Within it, attacks that are created or fitted for others take the few steps of their ``QUICK`` parameters."""
    token = _quick.set(quick or _quick.get())
    try:
        yield
    finally:
        _quick.reset(token)


def made(attack: type[A], **parameters: Any) -> A:
    """An attack with its default parameters, or its quick ones where `effort` asks for them."""
    return attack(**({**getattr(attack, "QUICK", {}), **parameters} if _quick.get() else parameters))


def fitted(
    make: type[A], link: Link, threat: ThreatModel, images: Tensor, owner: object = None, **parameters: Any
) -> A:
    """An attack, fitted; the same object for whoever asks again.

    It is seeded by its name and by the link's own ``seed``, if it has one, so it does not depend on who asks first.

    Args:
        make: class of the attack.
        link: the system that it is fitted against.
        threat: the adversary.
        images: auxiliary images, ``[N, 3, H, W]``.
        owner: what the result lives as long as; default: the link.
        parameters: of the attack.
    """
    mine = _fitted.setdefault(link if owner is None else owner, {})
    key = (make, _quick.get(), threat, images.data_ptr(), tuple(images.shape), repr(sorted(parameters.items())))
    if key not in mine:
        attack: Any = made(make, **parameters)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(zlib.crc32(attack.name.encode()) + getattr(link, "seed", 0))
            attack.fit(link, threat, images)
        mine[key] = attack
    return mine[key]


def forget(link: Link) -> None:
    """Let go of all that was fitted against a link; some of it holds the link, which would otherwise never be freed."""
    _fitted.pop(link, None)
