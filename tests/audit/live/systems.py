"""A tiny live system, and servers and channels that run in threads of the test's own process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import zmq

from atm.link import Link
from atm.policy import MergePolicy
from audit.live.protocol import MOST_BYTES, Hello, Welcome
from audit.live.relay import Air, Relay
from audit.live.server import Server
from audit.live.serving import BATCH, Serving
from audit.live.sockets import Address, Network
from audit.live.sources import Shot
from audit.live.system import Live, Mode, digest_of
from tests.systems import DEPTH, pictures, system


def live(defence: str = "", victim: str = "absolute", codec: str = "uncoded", exit_layer: int = 1) -> Live:
    link: Link = system(defence, codec, exit_layer, victim, "awgn:10")
    return alone(link)


def alone(link: Link) -> Live:
    mode = Mode(link, {"policy": "p" * 64, "wire": "symbols"})
    return Live((mode,), ("ant", "bee", "cat", "dog", "emu"), {"victim": "v" * 64})


def several(codec: str = "uncoded") -> Live:
    """One with three policies, of which the last sends after another layer where the codec serves it."""
    first = system("", codec, 1, "absolute", "awgn:10")
    policies = [MergePolicy.uniform(threshold, DEPTH, exit_layer=1) for threshold in (1.0, 0.6)]
    policies.append(MergePolicy.uniform(0.5, DEPTH, exit_layer=1 if first.codec.learned else 2))
    links = [first.with_policy(policy) for policy in policies]
    wires = [" ".join(field.name for field in link.wire.fields) for link in links]
    modes = [
        Mode(link, {"policy": digest_of(link.policy), "wire": wire}) for link, wire in zip(links, wires, strict=True)
    ]
    return Live(tuple(modes), ("ant", "bee", "cat", "dog", "emu"), {"victim": "v" * 64})


def hello(here: Live) -> Hello:
    return Hello(system=here.agreement, policies=[mode.agreement for mode in here.modes])


def shot(number: int, seed: int = 0) -> Shot:
    return Shot(number, pictures(1, seed + number)[0], 0.0)


def free_port() -> Address:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return Address("127.0.0.1", taken.getsockname()[1])


def joined(server: Server) -> bytes:
    welcome = server.reply(hello(server.live).pack())
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
def served(network: Network, server: Server, address: Address, batch: int = BATCH, wait: float = 0) -> Iterator[None]:
    socket = network.bind(zmq.ROUTER, address, server.live.most_bytes)
    with running(Serving(server, socket, batch, wait).run):
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
