"""The device: encodes what its camera sees, sends it and waits for the answer, one frame in flight at a time.

Whatever happens to the server or to the way there, the device goes on: it says hello again, and sends what was not
answered again, or where pictures come at a pace of their own the newest one instead.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import torch
import zmq
from torch import Tensor

from atm.errors import AtmError
from atm.seeds import seed_of
from atm.tokens import TokenBatch
from audit.live.choosing import Choice
from audit.live.protocol import Answer, Frame, Hello, Message, MessageError, Refused, Welcome, unpack
from audit.live.sources import Shot
from audit.live.system import Live, Mode

LONGEST = 3600  # seconds that one message may be waited for


@dataclass(frozen=True)
class Sending:
    """One picture as it leaves the device.

    Attributes:
        mode: the policy.
        shot: the picture.
        tokens: as the encoder and the defence left them, with their merge map.
        symbols: ``[T, k]``.
        header: its bytes.
        bits: of the header that count.
        seconds: by stage.
    """

    mode: Mode
    shot: Shot
    tokens: TokenBatch
    symbols: Tensor
    header: bytes
    bits: int
    seconds: dict[str, float]

    def frame(self, session: bytes) -> Frame:
        """The message."""
        return Frame.of(session, self.shot.number, self.mode.tag, self.symbols, self.header)


@dataclass(frozen=True)
class Answered:
    """A frame with its answer, or with why there is none."""

    sending: Sending
    answer: Answer | None
    refused: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def logits(self) -> Tensor | None:
        """``[classes]``."""
        return None if self.answer is None else self.answer.tensor()


@torch.no_grad()
def encode(mode: Mode, shot: Shot, seed: int) -> Sending:
    """The device's part for one picture.

    Args:
        mode: the policy.
        shot: the picture.
        seed: of the defence's randomness, which differs between frames.
    """
    link, began = mode.link, time.perf_counter()
    encoded = link.encoder(shot.image[None].to(link.device), link.policy)
    ready = time.perf_counter()
    generator = torch.Generator().manual_seed(seed_of("defence", seed, shot.number))
    tokens, symbols, side = link.emit(encoded.tokens, generator)
    header, bits = mode.header.write(tokens, side.cpu())
    done = time.perf_counter()
    seconds = {"capture": shot.seconds, "encoder": ready - began, "codec": done - ready}
    return Sending(mode, shot, tokens, symbols.cpu(), header, bits, seconds)


class Uplink:
    """The way to the server and back.

    Args:
        socket: a connected DEALER.
        live: the system.
        timeout: seconds after which a message counts as lost.
        patience: seconds without a word from the server after which the device gives up.
        say: called with a line when the server is gone, and when it is back.
        stop: asked between messages; nothing is sent again once it says so.
    """

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        live: Live,
        timeout: float,
        patience: float,
        say: Callable[[str], None] = lambda line: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        if not (0 < timeout <= LONGEST and patience > 0):
            raise AtmError(f"--timeout is a number of seconds above 0 and up to {LONGEST}, --patience one above 0")
        self._socket, self._timeout, self._patience, self._say, self._stop = socket, timeout, patience, say, stop
        self._hello = Hello(system=live.agreement, policies=[mode.agreement for mode in live.modes])
        self._session: bytes | None = None
        self._lost_at: float | None = None  # since when nothing was answered
        self._silent = True

    def ask(self, sending: Sending, again: bool) -> Answer | Refused | None:
        """Send a frame and wait.

        Args:
            sending: the frame.
            again: whether to send it until there is an answer; else, and once asked to stop, None comes back where it
                was lost.

        Raises:
            AtmError: the server runs another system, or has not said a word for too long.
        """
        while (session := self._joined()) is not None:
            reply = self._exchange(sending.frame(session), partial(_is_of, sending.shot.number))
            if isinstance(reply, Refused) and reply.reason == "session":
                self._session = None
                continue
            if isinstance(reply, Answer | Refused):
                return reply
            self._session = None  # whoever does not answer may have forgotten it
            if not again:
                break
        return None

    def _joined(self) -> bytes | None:
        """The session, begun if there is none; None where the device was asked to stop before."""
        while self._session is None and not self._stop():
            reply = self._exchange(self._hello, lambda m: isinstance(m, Welcome) or _is_refusal(m))
            if isinstance(reply, Refused) and reply.reason in ("system", "version"):
                raise AtmError(reply.words)
            if isinstance(reply, Welcome):
                self._session = reply.session
        return self._session

    def _exchange(self, message: Message, wanted: Callable[[Message], bool]) -> Message | None:
        """Send, and wait for what is wanted; what else comes is late and of no use any more."""
        began = time.monotonic()
        if self._socket.poll(_milliseconds(self._timeout), zmq.POLLOUT):
            with suppress(zmq.Again):  # the server may go between the two: then nothing comes back
                self._socket.send(message.pack(), zmq.NOBLOCK)
            while (left := began + self._timeout - time.monotonic()) > 0 and self._socket.poll(_milliseconds(left)):
                try:
                    reply: Message = unpack(self._socket.recv(), Welcome, Answer, Refused)
                except MessageError:
                    continue
                if wanted(reply):
                    self._tell("the server answers", silent=False)
                    self._lost_at = None
                    return reply
        self._lost_at = began if self._lost_at is None else self._lost_at
        silence = time.monotonic() - self._lost_at
        if silence > self._patience:
            raise AtmError(f"the server has not answered for {silence:.0f} s; is it running, with the same --key?")
        self._tell("the server does not answer; trying again", silent=True)
        return None

    def _tell(self, line: str, silent: bool) -> None:
        if silent != self._silent:
            self._say(line)
        self._silent = silent


def stream(
    choice: Choice,
    uplink: Uplink,
    shots: Iterable[Shot],
    seed: int,
    again: bool,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Answered]:
    """Every picture that is taken, with its answer.

    Args:
        choice: of each picture's policy; it hears what the server measured.
        uplink: to the server.
        shots: pictures.
        seed: of the defence.
        again: whether a frame that is lost is sent again.
        stop: asked before each.
    """
    for shot in shots:
        if stop():
            return
        sending = encode(choice.next(), shot, seed)
        began = time.perf_counter()
        reply = uplink.ask(sending, again)
        gone = time.perf_counter() - began
        if isinstance(reply, Answer):
            choice.heard(reply.snr_db)
            theirs = {"server's queue": reply.waited, "server": reply.seconds}
            away = max(gone - sum(theirs.values()), 0.0)
            yield Answered(sending, reply, seconds={**sending.seconds, "air and network": away, **theirs})
        else:
            yield Answered(sending, None, "lost" if reply is None else reply.words, sending.seconds)


def _is_of(number: int, message: Message) -> bool:
    if isinstance(message, Answer):
        return message.number == number
    return isinstance(message, Refused) and (message.number == number or message.reason == "session")


def _is_refusal(message: Message) -> bool:
    return isinstance(message, Refused) and message.number is None


def _milliseconds(seconds: float) -> int:
    return math.ceil(1000 * seconds)
