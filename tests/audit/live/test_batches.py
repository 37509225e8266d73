"""Frames that are answered together get the answers that each would get alone, in turn, whatever the others are."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import replace

import pytest
import torch
import zmq
from hypothesis import given
from hypothesis import strategies as st

from atm import channels
from atm.errors import AtmError
from atm.link import Link
from audit.live import answering
from audit.live.choosing import Choice
from audit.live.device import Uplink, encode, stream
from audit.live.protocol import Answer, Frame, Hello, Refused, Welcome, unpack
from audit.live.relay import Air, schedule_of
from audit.live.server import MOST_EACH as MOST_SESSIONS_EACH
from audit.live.server import Server
from audit.live.serving import ROUNDS, Serving
from audit.live.sockets import network
from audit.live.system import Live
from audit.live.waiting import MOST_EACH, Waiter, Waiting
from tests.audit.live.systems import alone, free_port, hello, joined, live, served, several, shot

ROUNDING = {"rtol": 0, "atol": 1e-5}  # of answers of the order of 1; measured: 3e-6 at most


def frames(here: Live, server: Server, channel: str, count: int) -> list[Frame]:
    """One of each of so many devices, and of every policy in turn, behind a channel."""
    air = Air(schedule_of(channel, None), seed=7)
    modes = itertools.cycle(here.modes)
    return [air.carry(encode(next(modes), shot(n), 0).frame(joined(server))) for n in range(count)]


def replies(server: Server, asked: list[Frame]) -> list:
    return server.replies([(None, each.pack()) for each in asked])


def over(here: Live, channel: str) -> Live:
    link = channels.parse(channel)
    return replace(here, modes=tuple(replace(mode, link=mode.link.over(link)) for mode in here.modes))


@pytest.mark.parametrize("channel", ["awgn:10", "rayleigh:5", "noiseless"])
@pytest.mark.parametrize("make", [lambda: live(victim="rotary"), lambda: live(codec="learned"), lambda: live("pad:8"),
                                  several, lambda: several("learned")])  # fmt: skip
def test_together_is_as_alone(make, channel):
    here = over(make(), channel)
    server, other = Server(here), Server(here)
    asked = frames(here, server, channel, 9)
    for each, answer in zip(asked, replies(server, asked), strict=True):
        assert isinstance(answer, Answer), answer
        (lone,) = replies(other, [each.model_copy(update={"session": joined(other)})])
        torch.testing.assert_close(answer.tensor(), lone.tensor(), **ROUNDING)
        assert answer.tensor().argmax() == lone.tensor().argmax()
        assert (answer.number, answer.symbols, answer.snr_db) == (lone.number, lone.symbols, lone.snr_db)
        assert lone.together == 1 and answer.together == len(asked) // len(here.modes)


def test_frames_over_different_channels_are_decoded_each_at_its_own_quality():
    here = live(codec="learned")
    server, other = Server(here), Server(here)
    asked = [frames(here, server, channel, 1)[0] for channel in ("awgn:0", "awgn:15", "rayleigh:5", "noiseless")]
    for each, answer in zip(asked, replies(server, asked), strict=True):
        (lone,) = replies(other, [each.model_copy(update={"session": joined(other)})])
        torch.testing.assert_close(answer.tensor(), lone.tensor(), **ROUNDING)
        assert answer.snr_db == lone.snr_db


@pytest.mark.parametrize("channel", ["awgn:10", "rayleigh:12"])
def test_a_soft_codec_has_every_symbols_quality(channel):
    here = over(live(codec="digital"), channel)
    server, other = Server(here), Server(here)
    asked = [*frames(here, server, channel, 3), *frames(here, server, "awgn:30", 1)]
    for each, answer in zip(asked, replies(server, asked), strict=True):
        (lone,) = replies(other, [each.model_copy(update={"session": joined(other)})])
        torch.testing.assert_close(answer.tensor(), lone.tensor(), **ROUNDING)


BAD = (
    {"header": b""}, {"symbols": b""}, {"per_token": 1}, {"policy": "0" * 16}, {"session": bytes(16)},
    {"symbols": b"\xff\xff\x7f\x49"}, {"snr_db": b"\0"},
)  # fmt: skip


@pytest.mark.parametrize("change", BAD)
def test_a_frame_that_is_refused_leaves_the_others_alone(change):
    here = live()
    server, other = Server(here), Server(here)
    asked = frames(here, server, "awgn:10", 4)
    if change.get("symbols"):
        change = {"symbols": change["symbols"] * (len(asked[1].symbols) // 4)}
    asked[1] = asked[1].model_copy(update=change)
    got = replies(server, asked)
    good = [asked[place].model_copy(update={"session": joined(other)}) for place in (0, 2, 3)]
    for answer, wanted in zip([got[0], *got[2:]], replies(other, good), strict=True):
        torch.testing.assert_close(answer.tensor(), wanted.tensor(), **ROUNDING)
    if isinstance(got[1], Answer):  # as loud as may be: an answer of its own, finite
        assert bool(got[1].tensor().isfinite().all()) and "symbols" in change
    else:
        assert isinstance(got[1], Refused) and got[1].words.isprintable()


def test_a_frame_that_breaks_the_model_is_its_senders_fault_alone(monkeypatch):
    here = live()
    server = Server(here)
    asked = frames(here, server, "awgn:10", 4)
    evil, answer_to = asked[2].tensor()[0], Link.answer

    def receive(self, symbols, side, sent, snr_db):
        if bool((symbols == evil).all(-1).any()):
            raise RuntimeError("out of luck\n")
        return sound(self, symbols, side, sent, snr_db)

    sound = Link.receive
    monkeypatch.setattr(Link, "receive", receive)
    got = replies(server, asked)
    assert [type(each) for each in got] == [Answer, Answer, Refused, Answer] and "out of luck" in got[2].words
    monkeypatch.setattr(Link, "receive", sound)

    def answer(self, received):
        logits = answer_to(self, received)
        logits[1] = torch.nan
        return logits

    monkeypatch.setattr(Link, "answer", answer)
    got = replies(server, frames(here, server, "awgn:10", 3))
    assert [type(each) for each in got] == [Answer, Refused, Answer] and "NaN" in got[1].words
    assert server.refused == 2 and server.answered == 5


def test_two_frames_of_one_session_are_answered_one_after_the_other():
    here = live()
    server = Server(here)
    session = joined(server)
    first, second = (encode(here.modes[0], shot(number), 0).frame(session) for number in (0, 1))
    got = replies(server, [first, second, first, second, second])
    assert [type(each) for each in got] == [Answer, Answer, Refused, Answer, Answer]
    assert got[2].reason == "replayed" and got[3] == got[4] == got[1] and server.answered == 2


WAYS = st.lists(st.integers(0, 4), max_size=60)


@given(st.lists(st.one_of(st.integers(0, 4), st.just("take")), max_size=80), st.integers(1, 4), st.integers(1, 9))
def test_devices_have_turns_and_queues_have_bounds(steps, most, room):
    waiting, held, number = Waiting(room), defaultdict[int, list[int]](list), itertools.count()
    turn = dict.fromkeys(range(5), 0)  # how many others have been served since each began to wait
    for step in steps:
        if step == "take":
            taken = [(each.way[0][0], int(each.data)) for each in waiting.take(most)]
            assert len({way for way, _ in taken}) == len(taken) == min(most, sum(map(bool, held.values())))
            for way, which in taken:
                assert which == held[way].pop(0), "in the order of sending"
                turn[way] = 0
            for way in (way for way in held if held[way] and way not in dict(taken)):
                turn[way] += len(taken)
                assert turn[way] <= 5, "nobody comes twice before all others came once"
            continue
        fits = len(held[step]) < MOST_EACH and sum(map(len, held.values())) < room
        which = next(number)
        assert waiting.put(Waiter((bytes([step]),), str(which).encode(), 0.0)) == fits
        if fits:
            held[step].append(which)
        assert len(waiting) == sum(map(len, held.values())) <= room
        assert waiting.devices == sum(map(bool, held.values()))


class Wires:
    """A socket in name: what came in, by return address, and what went out."""

    def __init__(self) -> None:
        self.coming, self.gone = list[tuple[bytes, bytes]](), list[tuple[bytes, bytes]]()

    def poll(self, patience: int) -> bool:
        return bool(self.coming)

    def recv_multipart(self) -> list[bytes]:
        return list(self.coming.pop(0))

    def send_multipart(self, parts: list[bytes], flags: int) -> None:
        self.gone.append((parts[0], parts[1]))

    def run(self, serving: Serving) -> list:
        """Until nothing comes any more and all is answered; the answers in order."""
        sent = len(self.gone)
        serving.run(lambda: not self.coming and not len(serving._waiting))
        return [(way, unpack(data, Answer, Welcome, Refused)) for way, data in self.gone[sent:]]


def test_what_waits_is_answered_in_one_batch_and_a_flood_holds_up_nobody():
    here = live()
    server, wires = Server(here), Wires()
    serving = Serving(server, wires, batch=4)
    wires.coming = [(bytes([65 + n]), hello(here).pack()) for n in range(4)]
    sessions = {way: each.session for way, each in wires.run(serving)}

    def sent(way: bytes, number: int) -> tuple[bytes, bytes]:
        return way, encode(here.modes[0], shot(number), 0).frame(sessions[way]).pack()

    wires.coming = [sent(way, 0) for way in sessions]
    assert [each.together for _, each in wires.run(serving)] == [4] * 4
    flood = [sent(b"A", number) for number in range(1, 60)]
    wires.coming = [*flood[:30], *(sent(way, 1) for way in sessions if way != b"A"), *flood[30:]]
    got = wires.run(serving)
    kind = [(way, type(each)) for way, each in got]
    first = [number for number, (way, made) in enumerate(kind) if made is Answer and way != b"A"]
    assert len(first) == 3 and all(each.together >= 2 for way, each in got if way in (b"B", b"C", b"D"))
    before = [made for way, made in kind[: first[0]] if way == b"A" and made is Answer]
    assert len(before) <= 30 // 4 + MOST_EACH, "at most one in each batch while others came"
    busy = [each for _, each in got if isinstance(each, Refused)]
    assert busy and all(each.reason == "busy" and each.number is None for each in busy)
    assert len(got) == 59 + 3, "nothing without a word"


def test_hellos_of_one_device_take_nobody_elses_session():
    here, said = live(), list[str]()
    server = Server(here, said.append)
    honest = joined(server)
    flood = [server.replies([((b"evil",), hello(here).pack())])[0].session for _ in range(1000)]
    assert isinstance(server.reply(encode(here.modes[0], shot(0), 0).frame(honest).pack()), Answer)
    frame = encode(here.modes[0], shot(0), 0)
    known = [isinstance(server.reply(frame.frame(each).pack()), Answer) for each in flood]
    assert known == [False] * (1000 - MOST_SESSIONS_EACH) + [True] * MOST_SESSIONS_EACH
    assert len(said) < 10


def test_devices_over_sockets_get_their_own_answers_and_who_vanishes_in_mid_batch_hurts_nobody():
    here, where, count = live(), free_port(), 6
    server = Server(here)
    with network(None) as net, served(net, server, where, batch=8, wait=0.05), network(None) as theirs:
        sockets = [theirs.connect(zmq.DEALER, where, here.most_bytes) for _ in range(count)]
        gone_net = network(None)
        gone = gone_net.__enter__()
        ghost = gone.connect(zmq.DEALER, where, here.most_bytes)
        for socket in (ghost, *sockets):
            assert socket.poll(5000, zmq.POLLOUT)
            socket.send(hello(here).pack())
        sessions = [unpack(socket.recv(), Welcome).session for socket in (ghost, *sockets)]
        for number in range(3):
            for place, (socket, session) in enumerate(zip((ghost, *sockets), sessions, strict=True)):
                if number == 0 or place:
                    picture = shot(10 * place + number)
                    sending = encode(here.modes[0], replace(picture, number=number), 0)
                    socket.send(sending.frame(session).pack())
            if number == 0:
                gone_net.__exit__(None, None, None)  # with its frame on the way
            for place, socket in enumerate(sockets, 1):
                assert socket.poll(10_000)
                answer = unpack(socket.recv(), Answer)
                wanted = alone(here.link.over(channels.parse("noiseless"))).link
                sent = wanted.transmit(shot(10 * place + number).image[None])
                assert answer.number == number
                torch.testing.assert_close(answer.tensor(), sent.logits[0], **ROUNDING)
        late = Uplink(theirs.connect(zmq.DEALER, where, here.most_bytes), here, 5, 60)
        assert all(each.answer for each in stream(Choice(here.modes), late, map(shot, range(2)), 0, again=True))


@pytest.mark.parametrize(("batch", "wait"), [(0, 0), (257, 0), (-1, 0), (4, -1), (4, 1.5), (4, float("nan"))])
def test_a_batch_that_cannot_be_is_refused(batch, wait):
    with pytest.raises(AtmError, match=r"--batch|--wait"):
        Serving(Server(live()), Wires(), batch, wait)


def test_memory_is_bounded_whatever_comes():
    here = live()
    wires = Wires()
    serving = Serving(Server(here), wires, batch=4)
    wires.coming = [(str(n).encode(), hello(here).pack()) for n in range(1000)]
    for _ in range(100):
        serving._receive(0)
    assert len(serving._waiting) == ROUNDS * 4 and len(wires.coming) == 1000 - ROUNDS * 4, "the rest waits outside"


def test_together_means_one_pass(monkeypatch):
    here, passes = live(), []
    sound = answering.logits
    monkeypatch.setattr(answering, "logits", lambda asked: passes.append(len(asked)) or sound(asked))
    server = Server(here)
    replies(server, frames(here, server, "awgn:10", 5))
    assert passes == [5]
    assert isinstance(server.reply(Hello(system=here.agreement, policies=[here.modes[0].agreement]).pack()), Welcome)
