"""One key that all processes of a link share, and the key pairs that are made from it.

Sockets are encrypted and authenticated at both ends by CurveZMQ (rfc.zeromq.org/spec/26, libsodium's Curve25519): each
has the other's public key, and both pairs follow from the shared key. So whoever has that key is a device and a server
alike, and whoever has it not can neither join, nor read, nor play back what others sent.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path

import zmq
from zmq.utils import z85

from atm.errors import AtmError, StorageError
from atm.foreign import read_text
from atm.text import printable

BYTES = 32


@dataclass(frozen=True)
class Pair:
    """A key pair in Z85, as ZeroMQ takes it."""

    public: bytes
    secret: bytes


@dataclass(frozen=True)
class SharedKey:
    """The pairs of those who bind a socket, and of those who connect to one."""

    binds: Pair
    connects: Pair

    @classmethod
    def of(cls, shared: bytes) -> SharedKey:
        """From `BYTES` bytes that nobody can guess."""
        return cls(_pair(shared, b"binds"), _pair(shared, b"connects"))

    @classmethod
    def read(cls, path: str | Path) -> SharedKey:
        """From a file that `write` has written.

        Raises:
            AtmError: it holds no key, or others than its owner can read it.
        """
        text = read_text(path, f"key file {path}").strip()
        try:
            shared = bytes.fromhex(text)
        except ValueError:
            shared = b""
        if len(shared) != BYTES:
            raise AtmError(f"key file {path} holds no key of {2 * BYTES} hexadecimal digits; make one with 'atm key'")
        if Path(path).stat().st_mode & 0o077:
            raise AtmError(f"key file {path} can be read by others; run chmod 600 on it")
        return cls.of(shared)


def write(path: Path) -> None:
    """Write a new key that its owner alone can read.

    Raises:
        AtmError: there is a file already.
        StorageError: it cannot be written.
    """
    try:
        path.touch(mode=0o600, exist_ok=False)
        path.write_text(secrets.token_hex(BYTES) + "\n", encoding="ascii")
    except FileExistsError:
        raise AtmError(f"{printable(path)} is there already; choose another name") from None
    except OSError as error:
        raise StorageError(f"key file {printable(path)} cannot be written: {error.strerror}") from None
    except ValueError as error:  # a null byte, or what no file system can name
        raise AtmError(f"key file {printable(path)} cannot be written: {error}") from None


def _pair(shared: bytes, end: bytes) -> Pair:
    secret = z85.encode(hashlib.blake2b(key=shared, person=b"atm " + end, digest_size=BYTES).digest())
    return Pair(zmq.curve_public(secret), secret)
