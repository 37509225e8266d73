"""The server: decodes frames, runs the remaining layers and answers; whatever reaches it, it goes on."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from atm.errors import AtmError, one_line
from atm.text import printable
from audit.live import answering
from audit.live.answering import Heard
from audit.live.protocol import (
    MOST_WORDS,
    VERSION,
    Answer,
    Frame,
    Hello,
    Message,
    MessageError,
    Reason,
    Refused,
    Welcome,
    raw,
    unpack,
)
from audit.live.system import TAG, Live, frame_symbols, refusal

MOST_SESSIONS = 256  # the one that was silent for longest gives way
MOST_EACH = 4  # sessions of one return address, the latest: a hello whose welcome was lost is said again
AGAIN = 10.0  # seconds for which the same complaint is not repeated

Way = tuple[bytes, ...]  # a return address


@dataclass
class _Session:
    """One device: how to reach it, its policies, the number of its last frame, what that was, and the answer."""

    way: Way | None
    tags: frozenset[str]
    last: int = -1
    digest: bytes = b""
    answer: Message | None = None


@dataclass(frozen=True)
class _Asked:
    """A frame that is to be answered."""

    frame: Frame
    session: _Session
    digest: bytes
    heard: Heard


class Server:
    """The server's part of a link, without its socket: messages in, as many messages out.

    Args:
        live: the system.
        say: called with a line for each device that comes, and each kind of message that is refused.
    """

    def __init__(self, live: Live, say: Callable[[str], None] = lambda line: None) -> None:
        self.live, self._say = live, say
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()
        self._said: dict[str, float] = {}
        self.answered = self.refused = 0

    def reply(self, data: bytes) -> Message:
        """The answer to one message."""
        return self.replies([(None, data)])[0]

    def replies(self, messages: Sequence[tuple[Way | None, bytes]]) -> list[Message]:
        """The answers to whatever arrives, in its order; nothing that a device sends makes this fail.

        Frames of one policy are computed together. What is wrong with one of them is told to its sender alone.

        Args:
            messages: each with its return address, where there is one.
        """
        read = [(way, _unpacked(data)) for way, data in messages]
        found: dict[int, Message] = {}
        for places in _rounds([message for _, message in read]):
            asked: dict[str, dict[int, _Asked]] = {}
            for place in places:
                way, message = read[place]
                made = self._considered(message, way)
                if isinstance(made, _Asked):
                    asked.setdefault(made.frame.policy, {})[place] = made
                else:
                    found[place] = made
            for group in asked.values():
                found.update(zip(group, self._answers(list(group.values())), strict=True))
        for message in found.values():
            if isinstance(message, Refused):
                self._complain(message)
        return [found[place] for place in range(len(messages))]

    def too_many(self) -> Refused:
        """What is told to a device that has more messages here than may wait."""
        words = "earlier messages of this device wait here already; send the next when the one before is answered"
        refused = Refused(reason="busy", words=words)
        self._complain(refused)
        return refused

    def _considered(self, message: Message, way: Way | None) -> Message | _Asked:
        if isinstance(message, Hello):
            return self._welcome(message, way)
        return self._asked(message) if isinstance(message, Frame) else message

    def _welcome(self, hello: Hello, way: Way | None) -> Message:
        if hello.version != VERSION:
            words = f"the server speaks version {VERSION} of the protocol, the device version {hello.version}"
            return Refused(reason="version", words=words)
        if words := refusal(self.live, hello.system, hello.policies):
            return Refused(reason="system", words=f"the server runs another system: {words}"[:MOST_WORDS])
        tags = frozenset(each["policy"][:TAG] for each in hello.policies)
        session, own = secrets.token_bytes(16), [key for key, each in self._sessions.items() if each.way == way]
        for key in own[: max(len(own) + 1 - MOST_EACH, 0)] if way is not None else ():
            del self._sessions[key]
        self._sessions[session] = _Session(way, tags)
        while len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        if not own or way is None:
            self._say("a device has joined")
        return Welcome(session=session)

    def _asked(self, frame: Frame) -> Message | _Asked:
        session = self._sessions.get(frame.session)
        if session is None:
            return _refused(frame, "session", "the server knows no such session; say hello again")
        self._sessions.move_to_end(frame.session)
        digest = hashlib.sha256(frame.pack()).digest()
        if frame.number == session.last and digest == session.digest and session.answer is not None:
            return session.answer  # whose way back was lost
        if frame.number <= session.last:
            words = f"frame {frame.number} was sent before; the last one was {session.last}"
            return _refused(frame, "replayed", words)
        if frame.policy not in session.tags:
            words = f"policy {frame.policy} is none of those that the device named when it said hello"
            return _refused(frame, "policy", words)
        try:
            return _Asked(frame, session, digest, answering.heard(self.live.by_tag[frame.policy], frame))
        except Exception as error:
            return _failed(frame, error)

    def _answers(self, asked: list[_Asked]) -> list[Message]:
        """To frames of one policy and of different sessions."""
        began = time.perf_counter()
        try:
            logits = answering.logits([each.heard for each in asked])
        except Exception as error:  # of a codec or a model, whose libraries raise anything
            if len(asked) == 1:
                return [_failed(asked[0].frame, error)]
            return [self._answers([each])[0] for each in asked]  # so that it is one's own fault alone
        seconds = time.perf_counter() - began
        made: list[Message] = []
        for each, row in zip(asked, logits, strict=True):
            frame, heard = each.frame, each.heard
            if not bool(row.isfinite().all()):
                words = "the frame makes the victim answer with NaN or infinities"
                made.append(_failed(frame, MessageError(words)))
                continue
            bits = heard.bits + (len(each.session.tags) - 1).bit_length()
            answer = Answer(
                number=frame.number,
                logits=raw(row),
                symbols=frame_symbols(frame.tokens, frame.per_token, bits),
                snr_db=heard.mean_snr_db,
                seconds=seconds,
                together=len(asked),
            )
            each.session.last, each.session.digest, each.session.answer = frame.number, each.digest, answer
            self.answered += 1
            made.append(answer)
        return made

    def _complain(self, refusal: Refused) -> None:
        self.refused += 1
        now = time.monotonic()
        if now - self._said.get(refusal.reason, -AGAIN) >= AGAIN:
            self._said[refusal.reason] = now
            self._say(f"refused a message ({refusal.reason}): {refusal.words}")


def _unpacked(data: bytes) -> Message:
    try:
        message: Message = unpack(data, Hello, Frame)
        return message
    except AtmError as error:
        return Refused(reason="frame", words=str(error)[:MOST_WORDS])


def _rounds(messages: Sequence[Message]) -> Iterator[list[int]]:
    """Places of messages, in order, so that no round has two frames of one session: the second depends on the first."""
    left = list(range(len(messages)))
    while left:
        sessions, now, later = set[bytes](), list[int](), list[int]()
        for place in left:
            message = messages[place]
            if isinstance(message, Frame) and message.session in sessions:
                later.append(place)
                continue
            now.append(place)
            if isinstance(message, Frame):
                sessions.add(message.session)
        yield now
        left = later


def _refused(frame: Frame, reason: Reason, words: str) -> Refused:
    return Refused(reason=reason, words=words, number=frame.number)


def _failed(frame: Frame, error: Exception) -> Refused:
    words = str(error) if isinstance(error, AtmError) else printable(one_line(error))
    return _refused(frame, "frame", words[:MOST_WORDS])
