"""A server answers as the link in one process does, and whatever else reaches it, it goes on."""

from __future__ import annotations

import random

import pytest
import torch
import zmq

from atm.seeds import seed_of
from audit.live.choosing import Choice
from audit.live.device import Uplink, encode, stream
from audit.live.protocol import VERSION, Answer, Frame, Refused, Welcome
from audit.live.relay import Air, Schedule
from audit.live.server import MOST_SESSIONS, Server
from audit.live.sockets import network
from audit.live.system import Live
from tests.audit.live.systems import alone, free_port, hello, joined, live, on_air, served, shot


@pytest.fixture(scope="module")
def here() -> Live:
    return live()


def frame(here: Live, session: bytes, number: int = 0) -> Frame:
    return encode(here.modes[0], shot(number), 0).frame(session)


@pytest.mark.parametrize("codec", ["uncoded", "learned"])
@pytest.mark.parametrize("victim", ["absolute", "rotary"])
@pytest.mark.parametrize("channel", ["awgn:10", "rayleigh:5", "burst:10,rate=0.3", "noiseless"])
def test_answers_are_those_of_one_process_bit_for_bit(codec, victim, channel):
    here = live(victim=victim, codec=codec)
    from atm import channels

    here = alone(here.link.over(channels.parse(channel)))
    server, air = Server(here), Air(Schedule(((0, here.link.channel),)), seed=7)
    session = joined(server)
    for number in range(3):
        answer = server.reply(air.carry(frame(here, session, number)).pack())
        assert isinstance(answer, Answer), answer
        sent = here.link.transmit(shot(number).image[None], seed=seed_of("channel", 7, number))
        assert torch.equal(answer.tensor(), sent.logits[0])
        assert answer.symbols == sent.symbols[0]
        snr = torch.as_tensor(sent.snr_db, dtype=torch.float32).mean()
        assert answer.snr_db == pytest.approx(float(snr))


@pytest.mark.parametrize("defence", ["pad:8", "drop:0.5", "shuffle"])
def test_defended_tokens_are_answered(defence):
    here = live(defence)
    server = Server(here)
    session = joined(server)
    for number in range(3):
        answer = server.reply(frame(here, session, number).pack())
        sent = encode(here.modes[0], shot(number), 0).tokens
        told = here.link.wire.delivered(sent).with_values(sent.values)
        assert isinstance(answer, Answer)
        torch.testing.assert_close(answer.tensor(), here.link.answer(told)[0], rtol=1e-4, atol=1e-4)


def test_what_was_sent_before_is_refused_and_only_a_lost_answer_comes_again(here):
    server = Server(here)
    session = joined(server)
    first, second = frame(here, session, 3).pack(), frame(here, session, 4).pack()
    answer = server.reply(first)
    assert server.reply(first) == answer and server.answered == 1, "not computed again"
    assert isinstance(server.reply(second), Answer)
    assert server.reply(first).reason == "replayed"
    changed = frame(here, session, 9).model_copy(update={"number": 4})
    assert server.reply(changed.pack()).reason == "replayed"
    other = joined(server)
    assert other != session and isinstance(server.reply(frame(here, other, 3).pack()), Answer)
    assert server.reply(frame(here, bytes(16), 5).pack()).reason == "session"


def test_other_systems_and_versions_are_refused_with_what_is_not_alike(here):
    server = Server(here)
    good = hello(here)
    for part in ("system", "policies"):
        own = here.agreement if part == "system" else here.modes[0].agreement
        for key in own:
            for words in ({**own, key: "another"}, {name: value for name, value in own.items() if name != key}):
                refused = server.reply(good.model_copy(update={part: words if part == "system" else [words]}).pack())
                assert isinstance(refused, Refused) and refused.reason == "system" and key in refused.words
    assert server.reply(good.model_copy(update={"version": VERSION + 1}).pack()).reason == "version"
    assert server.reply(good.model_copy(update={"policies": []}).pack()).reason == "frame"
    assert server.answered == 0


def test_frames_that_no_device_of_this_system_sends_are_refused_by_name(here):
    server = Server(here)
    session = joined(server)
    good = frame(here, session)
    k = good.per_token
    many = bytes(8 * k * (here.modes[0].most_tokens + 1))
    for change in (
        {"per_token": k + 1}, {"symbols": good.symbols[:-8]}, {"symbols": good.symbols[: -8 * k]}, {"symbols": b""},
        {"symbols": many}, {"header": b""}, {"header": good.header + b"\0"}, {"header": b"\xff" * len(good.header)},
        {"symbols": b"\xff" * len(good.symbols)}, {"symbols": b"\xff\xff\x7f\x7f" * (len(good.symbols) // 4)},
        {"snr_db": b"\0"},
    ):  # fmt: skip
        refused = server.reply(good.model_copy(update=change).pack())
        assert isinstance(refused, Refused) and refused.reason == "frame" and refused.number == 0, change
        assert refused.words.isprintable() and refused.words
    assert isinstance(server.reply(good.pack()), Answer), "none of them took its number"


def test_those_who_were_silent_longest_give_way(here):
    server = Server(here)
    first, second = joined(server), joined(server)
    server.reply(frame(here, first).pack())
    for _ in range(MOST_SESSIONS - 1):
        joined(server)
    assert isinstance(server.reply(frame(here, first, 1).pack()), Answer)
    assert server.reply(frame(here, second).pack()).reason == "session"


def test_a_thousand_damaged_messages_and_it_goes_on(here):
    chance, said = random.Random(0), list[str]()
    server = Server(here, said.append)
    session = joined(server)
    good = [frame(here, session, 10**6).pack(), hello(here).pack()]
    for _ in range(1000):
        data = bytearray(chance.choice(good))
        for _ in range(chance.choice([0, 1, 1, 2, 8])):
            data[chance.randrange(len(data) if chance.random() < 0.5 else 120) % len(data)] = chance.randrange(256)
        data = data[: chance.choice([len(data), chance.randrange(len(data))])]
        if chance.random() < 0.1:
            data = bytearray(chance.randbytes(chance.randrange(400)))
        assert isinstance(server.reply(bytes(data)), Answer | Refused | Welcome)
    assert server.refused > 500
    assert all(line.isprintable() for line in said) and len([line for line in said if "refused" in line]) < 20
    fresh = joined(server)
    assert isinstance(server.reply(frame(here, fresh).pack()), Answer)


def test_over_sockets_a_server_that_was_away_is_found_again_and_nothing_is_lost(here):
    front, back, said = free_port(), free_port(), list[str]()
    air = Air(Schedule(((0, here.link.channel),)), seed=1)
    with network(None) as net, on_air(net, air, front, back):
        uplink = Uplink(net.connect(zmq.DEALER, front, here.most_bytes), here, 0.5, 60, said.append)
        answers = []
        for part in (range(3), range(3, 6)):  # each with a server of its own, which knows no session of the other
            with network(None) as own, served(own, Server(here), back):
                for each in stream(Choice(here.modes), uplink, map(shot, part), seed=0, again=True):
                    answers.append(each.logits)
        assert "the server answers" in said
        for number, answer in enumerate(answers):
            sent = here.link.transmit(shot(number).image[None], seed=seed_of("channel", 1, number))
            assert torch.equal(answer, sent.logits[0])
