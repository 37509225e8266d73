"""Radio channels for complex baseband symbols of unit average power, one file for each family.

A channel's name and parameters are written ``awgn:10`` or ``rician:10,k=3,csi=no``. Other packages announce theirs
through the entry-point group ``atm.channels``.
"""

from __future__ import annotations

import sys

from atm.channels.base import Channel, Received
from atm.channels.gaussian import Awgn, Noiseless
from atm.errors import unknown
from atm.plugins import discover

CHANNELS: dict[str, type[Channel]] = discover(sys.modules[__name__], "atm.channels", Channel)


def parse(text: str) -> Channel:
    """The channel that a text such as ``awgn:10``, ``rician:10,k=3`` or ``noiseless`` names.

    Raises:
        AtmError: an unknown name, or parameters that the channel cannot have.
    """
    name, _, argument = text.partition(":")
    if name not in CHANNELS:
        raise unknown("channel", name, CHANNELS)
    return CHANNELS[name].parse(argument)


__all__ = ["CHANNELS", "Awgn", "Channel", "Noiseless", "Received", "parse"]
