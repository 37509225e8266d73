"""A tiny live system, and servers and channels that run in threads of the test's own process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import zmq

from atm.link import Link
from audit.live.protocol import MOST_BYTES, Hello, Welcome
from audit.live.relay import Air, Relay
from audit.live.server import Server, serve
from audit.live.sockets import Address, Network
from audit.live.sources import Shot
from audit.live.system import Live
from tests.systems import pictures, system


def live(defence: str = "", victim: str = "absolute", codec: str = "uncoded", exit_layer: int = 1) -> Live:
    link: Link = system(defence, codec, exit_layer, victim, "awgn:10")
    return Live(link, ("ant", "bee", "cat", "dog", "emu"), {"victim": "v" * 64, "policy": "p" * 64, "wire": "symbols"})


def shot(number: int, seed: int = 0) -> Shot:
    return Shot(number, pictures(1, seed + number)[0], 0.0)


def free_port() -> Address:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return Address("127.0.0.1", taken.getsockname()[1])


def joined(server: Server) -> bytes:
    welcome = server.reply(Hello(system=server.live.agreement).pack())
    assert isinstance(welcome, Welcome)
    return welcome.session


@contextmanager
def running(work: Callable[[Callable[[], bool]], None]) -> Iterator[None]:
    """Something that runs until it is asked to stop, in a thread; what it raises fails the test."""
    done, failed = threading.Event(), list[BaseException]()

    def run() -> None:
        torch.set_num_threads(1)
        try:
            work(done.is_set)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        assert failed == []


@contextmanager
def served(network: Network, server: Server, address: Address) -> Iterator[None]:
    socket = network.bind(zmq.ROUTER, address, server.live.most_bytes)
    with running(lambda stop: serve(server, socket, stop)):
        yield
    socket.close()


@contextmanager
def on_air(network: Network, air: Air, front: Address, back: Address, ears: Address | None = None) -> Iterator[Relay]:
    sockets = [network.bind(zmq.ROUTER, front, MOST_BYTES), network.connect(zmq.DEALER, back, MOST_BYTES)]
    listeners = None if ears is None else network.bind(zmq.PUB, ears, MOST_BYTES, waiting=1000)
    relay = Relay(air, sockets[0], sockets[1], listeners)
    with running(relay.run):
        yield relay
    for each in [*sockets, *([listeners] if listeners else [])]:
        each.close()
