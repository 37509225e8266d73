"""Sockets with bounds: on the size of a message, on how many wait, on how long a silent peer is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import zmq
from zmq.auth.thread import ThreadAuthenticator

from atm.errors import AtmError
from audit.live.keys import SharedKey

ROUTER, DEALER, PUB, SUB = zmq.ROUTER, zmq.DEALER, zmq.PUB, zmq.SUB
LOCAL = ("127.0.0.1", "localhost", "[::1]")
WAITING = 4  # messages of one peer that a socket keeps; whoever sends more has to wait
SILENCE = 10_000  # milliseconds after which a peer that does not even answer heartbeats is gone
RECONNECT = (100, 2000)  # milliseconds between two attempts, the first and the most


@dataclass(frozen=True)
class Address:
    """Where a socket is: ``HOST:PORT``."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """From ``HOST:PORT``, or a port of this machine.

        Raises:
            AtmError: it is neither.
        """
        host, _, port = text.rpartition(":")
        host = host or LOCAL[0]
        if not (port.isdecimal() and port.isascii() and 0 < int(port[:6]) < 65536) or set(host) & set("/ *;,@"):
            raise AtmError(f"address {text!r} is not of the form HOST:PORT, such as {LOCAL[0]}:5555")
        return cls(host, int(port))

    @property
    def local(self) -> bool:
        """Whether nobody but this machine reaches it."""
        return self.host in LOCAL

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Network:
    """All sockets of one process.

    Attributes:
        context: of ZeroMQ.
        key: what peers share; None where everybody may connect.
    """

    context: zmq.Context[zmq.Socket[bytes]]
    key: SharedKey | None

    def bind(self, kind: int, address: Address, most_bytes: int, waiting: int = WAITING) -> zmq.Socket[bytes]:
        """A socket that others connect to.

        Raises:
            AtmError: the address is taken, or not of this machine.
        """
        socket = self._socket(kind, most_bytes, waiting)
        if self.key is not None:
            socket.curve_server = True
            socket.curve_secretkey, socket.curve_publickey = self.key.binds.secret, self.key.binds.public
        try:
            socket.bind(f"tcp://{address}")
        except zmq.ZMQError as error:
            raise AtmError(f"cannot listen on {address}: {zmq.strerror(error.errno or 0)}") from None
        return socket

    def connect(self, kind: int, address: Address, most_bytes: int, waiting: int = WAITING) -> zmq.Socket[bytes]:
        """A socket that goes on trying to reach an address, and drops what waits when the peer is gone."""
        socket = self._socket(kind, most_bytes, waiting)
        if self.key is not None:
            socket.curve_serverkey = self.key.binds.public
            socket.curve_secretkey, socket.curve_publickey = self.key.connects.secret, self.key.connects.public
        socket.setsockopt(zmq.IMMEDIATE, 1)  # nothing waits for a peer that is not there
        try:
            socket.connect(f"tcp://{address}")
        except zmq.ZMQError as error:
            raise AtmError(f"cannot connect to {address}: {zmq.strerror(error.errno or 0)}") from None
        return socket

    def _socket(self, kind: int, most_bytes: int, waiting: int) -> zmq.Socket[bytes]:
        socket = self.context.socket(kind)
        for option, value in (
            (zmq.LINGER, 0),
            (zmq.MAXMSGSIZE, most_bytes),
            (zmq.SNDHWM, waiting),
            (zmq.RCVHWM, waiting),
            (zmq.HEARTBEAT_IVL, SILENCE // 4),
            (zmq.HEARTBEAT_TIMEOUT, SILENCE),
            (zmq.HEARTBEAT_TTL, SILENCE),
            (zmq.HANDSHAKE_IVL, SILENCE),
            (zmq.RECONNECT_IVL, RECONNECT[0]),
            (zmq.RECONNECT_IVL_MAX, RECONNECT[1]),
            (zmq.IPV6, 1),
        ):
            socket.setsockopt(option, value)
        return socket


class _Known:
    """The keys that may connect."""

    def __init__(self, key: SharedKey) -> None:
        self.public = key.connects.public

    def callback(self, domain: str, key: bytes) -> bool:
        return key == self.public


@contextmanager
def network(key: SharedKey | None) -> Iterator[Network]:
    """Sockets until the end of the block, and whoever lets in those alone who have the key."""
    context = zmq.Context()
    guard = None if key is None else ThreadAuthenticator(context)
    try:
        if guard is not None and key is not None:
            guard.start()
            guard.configure_curve_callback(domain="*", credentials_provider=_Known(key))
        yield Network(context, key)
    finally:
        if guard is not None:
            guard.stop()
        context.destroy(linger=0)


def key_for(path: str | None, insecure: bool, addresses: list[Address]) -> SharedKey | None:
    """The shared key; beyond this machine there must be one.

    Args:
        path: of the key's file.
        insecure: whether the user asked to do without.
        addresses: of all sockets.

    Raises:
        AtmError: there is none where one is needed, or both are asked for.
    """
    if path is not None and insecure:
        raise AtmError("--key and --insecure contradict each other; give one of them")
    beyond = [address for address in addresses if not address.local]
    if path is None and beyond and not insecure:
        raise AtmError(f"{beyond[0]} is not of this machine: give --key FILE (see 'atm key'), or --insecure")
    return None if path is None else SharedKey.read(path)
