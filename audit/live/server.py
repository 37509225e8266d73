"""The server: decodes frames, runs the remaining layers and answers; whatever reaches it, it goes on."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
import zmq

from atm.channels import Received
from atm.errors import AtmError, one_line
from atm.text import printable
from audit.live.protocol import (
    MOST_WORDS,
    VERSION,
    Answer,
    Frame,
    Hello,
    Message,
    MessageError,
    Refused,
    Welcome,
    raw,
    unpack,
)
from audit.live.system import Live, disagreement, frame_symbols

MOST_SESSIONS = 256  # the one that was silent for longest gives way
POLL = 200  # milliseconds between two looks at whether to stop
MOST_HOPS = 4  # parts of a return address
AGAIN = 10.0  # seconds for which the same complaint is not repeated


@dataclass
class _Session:
    """One device: the number of its last frame, what that was, and the answer."""

    last: int = -1
    digest: bytes = b""
    answer: Message | None = None


class Server:
    """The server's part of a link, without its socket: a message in, a message out.

    Args:
        live: the system.
        say: called with a line for each device that comes, and each kind of message that is refused.
    """

    def __init__(self, live: Live, say: Callable[[str], None] = lambda line: None) -> None:
        self.live, self._say, self._header = live, say, live.header
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()
        self._said: dict[str, float] = {}
        self.answered = self.refused = 0

    def reply(self, data: bytes) -> Message:
        """The answer to whatever arrives; nothing that a device sends makes it fail."""
        number = None
        try:
            message = unpack(data, Hello, Frame)
            if isinstance(message, Frame):
                number = message.number
            made = self._welcome(message) if isinstance(message, Hello) else self._answer(message)
        except AtmError as error:
            made = Refused(reason="frame", words=str(error)[:MOST_WORDS], number=number)
        except Exception as error:  # of a codec or a model, whose libraries raise anything
            made = Refused(reason="frame", words=printable(one_line(error))[:MOST_WORDS], number=number)
        if isinstance(made, Refused):
            self.refused += 1
            self._complain(made)
        return made

    def _welcome(self, hello: Hello) -> Message:
        if hello.version != VERSION:
            words = f"the server speaks version {VERSION} of the protocol, the device version {hello.version}"
            return Refused(reason="version", words=words)
        if words := disagreement(self.live.agreement, hello.system):
            return Refused(reason="system", words=f"the server runs another system: {words}")
        session = secrets.token_bytes(16)
        self._sessions[session] = _Session()
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        self._say("a device has joined")
        return Welcome(session=session)

    def _answer(self, frame: Frame) -> Message:
        session = self._sessions.get(frame.session)
        if session is None:
            words = "the server knows no such session; say hello again"
            return Refused(reason="session", words=words, number=frame.number)
        self._sessions.move_to_end(frame.session)
        digest = hashlib.sha256(frame.pack()).digest()
        if frame.number == session.last and digest == session.digest and session.answer is not None:
            return session.answer  # whose way back was lost
        if frame.number <= session.last:
            words = f"frame {frame.number} was sent before; the last one was {session.last}"
            return Refused(reason="replayed", words=words, number=frame.number)
        answer = self._computed(frame)
        session.last, session.digest, session.answer = frame.number, digest, answer
        self.answered += 1
        return answer

    @torch.no_grad()
    def _computed(self, frame: Frame) -> Answer:
        began, link = time.perf_counter(), self.live.link
        per_token = link.codec.symbols_per_token
        if frame.per_token != per_token:
            raise MessageError(f"{frame.per_token} symbols a token, where the codec sends {per_token}")
        symbols, total = frame.tensor().to(link.device), frame.tokens
        if total > self.live.most_tokens:
            raise MessageError(f"a frame of {total} tokens, where a picture has at most {self.live.most_tokens}")
        told, side, bits = self._header.read(frame.header, total)
        snr, told = frame.quality(), told.to(link.device)
        heard = Received(symbols, snr.to(link.device) if isinstance(snr, torch.Tensor) else snr)
        arrived = link.tuned(heard, told.lengths)
        received = link.receive(arrived.symbols, side.to(link.device), told, arrived.snr_db)
        logits = link.answer(received)[0].float().cpu()
        if not bool(logits.isfinite().all()):
            raise MessageError("the frame makes the victim answer with NaN or infinities")
        measured = float(torch.as_tensor(arrived.snr_db, dtype=torch.float32).mean())
        return Answer(
            number=frame.number,
            logits=raw(logits),
            symbols=frame_symbols(total, per_token, bits),
            snr_db=measured,
            seconds=time.perf_counter() - began,
        )

    def _complain(self, refusal: Refused) -> None:
        now = time.monotonic()
        if now - self._said.get(refusal.reason, -AGAIN) >= AGAIN:
            self._said[refusal.reason] = now
            self._say(f"refused a message ({refusal.reason}): {refusal.words}")


def serve(server: Server, socket: zmq.Socket[bytes], stop: Callable[[], bool]) -> None:
    """Answer until asked to stop. One message at a time; who waits longer than their socket has room for waits longer.

    Args:
        server: what answers.
        socket: a bound ROUTER.
        stop: asked between messages.
    """
    while not stop():
        if not socket.poll(POLL):
            continue
        *way, data = socket.recv_multipart()
        if not 1 <= len(way) <= MOST_HOPS:
            continue
        try:
            socket.send_multipart([*way, server.reply(data).pack()], zmq.NOBLOCK)
        except zmq.ZMQError:  # whoever asked is gone
            continue
