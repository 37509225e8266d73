"""The server's socket: what waits when the server is free is answered in one batch, one message of each device."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

import zmq

from atm.errors import AtmError
from audit.live.protocol import Answer, Message
from audit.live.server import Server
from audit.live.waiting import Waiter, Waiting

POLL = 200  # milliseconds between two looks at whether to stop
MOST_HOPS = 4  # parts of a return address
MOST_TOGETHER = 256
LONGEST_WAIT = 1.0  # seconds
BATCH, ROUNDS = 16, 4  # messages together unless the user says otherwise, and how many batches may wait


class Serving:
    """A server at its socket.

    Args:
        server: what answers.
        socket: a bound ROUTER.
        batch: messages that are answered together, at most.
        wait: seconds for which the first of them waits for others while there are fewer.

    Raises:
        AtmError: one of them is out of range.
    """

    def __init__(self, server: Server, socket: zmq.Socket[bytes], batch: int = BATCH, wait: float = 0.0) -> None:
        check(batch, wait)
        self._server, self._socket, self._batch, self._wait = server, socket, batch, wait
        self._waiting = Waiting(ROUNDS * batch)

    def run(self, stop: Callable[[], bool]) -> None:
        """Answer until asked to stop. Who sends more than may wait here waits in their own socket, or is told so."""
        while not stop():
            self._receive(0 if self._waiting else POLL)
            if not self._waiting:
                continue
            until = time.monotonic() + self._wait
            while self._waiting.devices < self._batch and (left := until - time.monotonic()) > 0 and not stop():
                self._receive(max(int(1000 * left), 1))
            taken = self._waiting.take(self._batch)
            began = time.monotonic()
            for each, made in zip(taken, self._server.replies([(each.way, each.data) for each in taken]), strict=True):
                waited = max(began - each.since, 0.0)
                self._send(each.way, made.model_copy(update={"waited": waited}) if isinstance(made, Answer) else made)

    def _receive(self, patience: int) -> None:
        """Take in what is there, at most one batch of it at a time, after waiting some milliseconds for it."""
        for _ in range(self._batch):
            if self._waiting.full or not self._socket.poll(patience):
                return
            patience = 0
            *way, data = self._socket.recv_multipart()
            if not 1 <= len(way) <= MOST_HOPS:
                continue
            waiter = Waiter(tuple(way), data, time.monotonic())
            if not self._waiting.put(waiter):
                self._send(waiter.way, self._server.too_many())

    def _send(self, way: tuple[bytes, ...], message: Message) -> None:
        with suppress(zmq.ZMQError):  # whoever asked is gone
            self._socket.send_multipart([*way, message.pack()], zmq.NOBLOCK)


def check(batch: int, wait: float) -> None:
    """Raise `AtmError` where a batch or a wait is out of range."""
    if not 1 <= batch <= MOST_TOGETHER:
        raise AtmError(f"--batch {batch} must be from 1 to {MOST_TOGETHER}")
    if not 0 <= wait <= LONGEST_WAIT:
        raise AtmError(f"--wait {1000 * wait:g} must be from 0 to {1000 * LONGEST_WAIT:g} milliseconds")
