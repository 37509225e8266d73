"""Seeds that depend on what they are for and on nothing else."""

from __future__ import annotations

import hashlib


def seed_of(*parts: object) -> int:
    """A seed, 0 to 2^32 - 1, that depends on every part, so that a resumed run draws what it would have drawn."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")
