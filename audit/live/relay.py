"""The air between device and server: a channel that changes by a schedule, of some bandwidth and with some delay.

What it radiates is there for whoever listens: each frame as the device sent it, for an antenna of her own.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
import zmq

from atm import channels, documents
from atm.channels import Channel
from atm.errors import AtmError
from atm.seeds import seed_of
from atm.wire import HEADER_BITS_PER_SYMBOL
from audit.live.protocol import Frame, Hello, MessageError, Refused, unpack

ON_WAY = 64  # messages in each direction; further ones are lost, as on a crowded channel
POLL = 200  # milliseconds


@dataclass(frozen=True)
class Schedule:
    """Channels and the numbers of the frames from which on they are the one, ascending from 0."""

    steps: tuple[tuple[int, Channel], ...]

    @classmethod
    def read(cls, path: str) -> Schedule:
        """From a YAML file such as ``{0: awgn:10, 50: "rayleigh:5"}``.

        Raises:
            AtmError: it is none, or does not begin with frame 0.
        """
        steps = []
        for key, text in documents.read(path, "schedule").items():
            if not (key.isascii() and key.isdecimal()) or len(key) > 18:
                raise AtmError(f"schedule file {path}: {key!r} is no number of a frame")
            if not isinstance(text, str):
                raise AtmError(f"schedule file {path}: frame {key} needs a channel, such as awgn:10")
            steps.append((int(key), channels.parse(text)))
        steps.sort(key=lambda step: step[0])
        if not steps or steps[0][0] != 0:
            raise AtmError(f"schedule file {path} does not say what the channel is from frame 0 on")
        return cls(tuple(steps))

    def at(self, number: int) -> Channel:
        """The channel of a frame."""
        return [channel for start, channel in self.steps if start <= number][-1]


def schedule_of(channel: str, path: str | None) -> Schedule:
    """One channel for all frames, or what a file says."""
    return Schedule(((0, channels.parse(channel)),)) if path is None else Schedule.read(path)


@dataclass(frozen=True)
class Air:
    """What happens to frames on their way.

    Attributes:
        schedule: of channels.
        seed: of their randomness: the same frame meets the same noise.
        bandwidth: symbols a second; None is without limit.
        delay: seconds one way.
    """

    schedule: Schedule
    seed: int = 0
    bandwidth: float | None = None
    delay: float = 0.0

    def __post_init__(self) -> None:
        if self.bandwidth is not None and not self.bandwidth > 0:
            raise AtmError(f"--bandwidth {self.bandwidth:g} must be a number of symbols a second above 0")
        if not 0 <= self.delay <= 60:
            raise AtmError(f"--delay {1000 * self.delay:g} must be from 0 to 60000 milliseconds")

    def carry(self, frame: Frame) -> Frame:
        """The frame as the server's antenna gives it.

        Raises:
            MessageError: its symbols are none.
        """
        symbols = frame.tensor()
        generator = torch.Generator().manual_seed(seed_of("channel", self.seed, frame.number))
        heard = self.schedule.at(frame.number).carry(symbols, generator, torch.tensor([len(symbols)]))
        return frame.received(heard.symbols, heard.snr_db)

    def airtime(self, frame: Frame) -> float:
        """Seconds for which a frame holds the channel, its header included."""
        if self.bandwidth is None:
            return 0.0
        return (frame.tokens * frame.per_token + 8 * len(frame.header) / HEADER_BITS_PER_SYMBOL) / self.bandwidth


class Way:
    """Messages on their way in one direction, in order, each there at its time.

    Args:
        delay: seconds.
        clock: in seconds.
    """

    def __init__(self, delay: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._delay, self._clock, self._free = delay, clock, 0.0
        self._coming: deque[tuple[float, list[bytes]]] = deque()

    def send(self, parts: list[bytes], airtime: float = 0.0) -> None:
        """A message that holds the channel for some seconds, after those before it; lost where there are too many."""
        if len(self._coming) < ON_WAY:
            self._free = max(self._free, self._clock()) + airtime
            self._coming.append((self._free + self._delay, parts))

    def deliver(self, socket: zmq.Socket[bytes]) -> None:
        """Hand over what is there by now; what the other end has no room for is lost."""
        while self._coming and self._coming[0][0] <= self._clock():
            try:
                socket.send_multipart(self._coming.popleft()[1], zmq.NOBLOCK)
            except zmq.ZMQError:
                continue

    def wait(self) -> int:
        """Milliseconds until the next one is there."""
        return max(math.ceil(1000 * (self._coming[0][0] - self._clock())), 0) if self._coming else POLL


class Relay:
    """The channel as a process.

    Args:
        air: what happens to frames.
        front: a bound ROUTER, to which devices connect.
        back: a DEALER that is connected to the server.
        ears: a bound PUB for those who listen, or None.
    """

    def __init__(
        self, air: Air, front: zmq.Socket[bytes], back: zmq.Socket[bytes], ears: zmq.Socket[bytes] | None
    ) -> None:
        self._air, self._front, self._back, self._ears = air, front, back, ears
        self._up, self._down = Way(air.delay), Way(air.delay)
        self.carried = self.refused = 0

    def run(self, stop: Callable[[], bool]) -> None:
        """Carry messages until asked to stop."""
        poller = zmq.Poller()
        poller.register(self._front, zmq.POLLIN)
        poller.register(self._back, zmq.POLLIN)
        while not stop():
            ready = dict(poller.poll(min(POLL, self._up.wait(), self._down.wait())))
            if self._front in ready:
                self._radiate(self._front.recv_multipart())
            if self._back in ready:
                self._down.send(self._back.recv_multipart())
            self._up.deliver(self._back)
            self._down.deliver(self._front)

    def _radiate(self, parts: list[bytes]) -> None:
        if len(parts) != 2:
            return
        way, data = parts
        try:
            message = unpack(data, Hello, Frame)
            arrived = self._air.carry(message) if isinstance(message, Frame) else message
        except MessageError as error:
            self.refused += 1
            self._down.send([way, Refused(reason="frame", words=str(error)).pack()])
            return
        if isinstance(message, Frame):
            self.carried += 1
            if self._ears is not None:
                self._ears.send(data, zmq.NOBLOCK)
        self._up.send([way, arrived.pack()], self._air.airtime(message) if isinstance(message, Frame) else 0.0)
