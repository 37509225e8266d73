"""The air: the channel of each frame, how long a frame holds it, and what gets through when it is full or foreign."""

from __future__ import annotations

import random

import pytest
import torch
import zmq

from atm import channels
from atm.errors import AtmError
from atm.seeds import seed_of
from audit.live.choosing import Choice
from audit.live.device import Uplink, encode, stream
from audit.live.protocol import MOST_BYTES, Answer, Frame, Refused, unpack
from audit.live.relay import ON_WAY, Air, Schedule, Way, schedule_of
from audit.live.server import Server
from audit.live.sockets import network
from tests.audit.live.systems import free_port, live, on_air, served, shot


def test_a_schedule_says_which_channel_a_frame_meets(tmp_path):
    path = tmp_path / "weather.yaml"
    path.write_text("100: noiseless\n0: awgn:15\n50: rayleigh:10\n")
    schedule = Schedule.read(str(path))
    names = {0: "awgn:15", 49: "awgn:15", 50: "rayleigh:10", 99: "rayleigh:10", 100: "noiseless", 10**9: "noiseless"}
    assert {number: str(schedule.at(number)) for number in names} == names
    assert str(schedule_of("awgn:3", None).at(7)) == "awgn:3"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "50: awgn:10",
        "0: nothing:1",
        "0: 5",
        "-1: awgn:10",
        "a: awgn:1",
        "0: [awgn:1]",
        "0: awgn:1\n0: awgn:2",
    ],
)
def test_a_schedule_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "weather.yaml"
    path.write_text(text)
    with pytest.raises(AtmError):
        Schedule.read(str(path))


@pytest.mark.parametrize("change", [{"bandwidth": 0.0}, {"bandwidth": float("nan")}, {"delay": -1.0}, {"delay": 61.0}])
def test_an_air_that_cannot_be_is_refused(change):
    with pytest.raises(AtmError):
        Air(schedule_of("awgn:10", None), **change)


@pytest.mark.parametrize("channel", ["awgn:10", "rayleigh:5", "burst:10,rate=0.3", "noiseless"])
def test_a_frame_meets_the_channel_as_in_one_process(channel):
    here = live()
    frame = encode(here.modes[0], shot(4), 0).frame(bytes(16))
    air = Air(schedule_of(channel, None), seed=11)
    got, symbols = air.carry(frame), frame.tensor()
    generator = torch.Generator().manual_seed(seed_of("channel", 11, 4))
    wanted = channels.parse(channel).carry(symbols, generator, torch.tensor([len(symbols)]))
    assert torch.equal(got.tensor(), wanted.symbols) and got.header == frame.header
    assert torch.equal(torch.as_tensor(got.quality()), torch.as_tensor(wanted.snr_db))
    assert air.carry(frame) == got, "the same frame meets the same noise"


def test_a_frame_holds_the_channel_for_its_symbols():
    here = live()
    sending = encode(here.modes[0], shot(0), 0)
    air = Air(schedule_of("awgn:10", None), bandwidth=1000)
    symbols = here.link.transmit(shot(0).image[None]).symbols[0]
    assert 0 <= air.airtime(sending.frame(bytes(16))) - float(symbols) / 1000 < 0.012, "to a whole byte of the header"
    assert Air(schedule_of("awgn:10", None)).airtime(sending.frame(bytes(16))) == 0


def test_a_way_keeps_order_and_no_more_than_it_has_room_for():
    class Kept:
        def __init__(self):
            self.parts = []

        def send_multipart(self, parts, flags):
            self.parts += parts

    way, socket = Way(0.0), Kept()
    for number in range(ON_WAY + 10):
        way.send([bytes([number])])
    way.deliver(socket)
    assert socket.parts == [bytes([number]) for number in range(ON_WAY)]


def test_frames_hold_the_channel_one_after_the_other():
    now, there = [100.0], []

    class Kept:
        def send_multipart(self, parts, flags):
            there.extend(parts)

    way = Way(2.0, lambda: now[0])
    way.send([b"a"], airtime=3.0)
    way.send([b"b"], airtime=1.0)
    assert way.wait() == 5000
    for now[0], known in ((104.9, []), (105.0, [b"a"]), (105.9, [b"a"]), (106.0, [b"a", b"b"])):
        way.deliver(Kept())
        assert there == known
    way.send([b"c"], airtime=1.0)
    assert way.wait() == 3000, "an idle channel begins now"


def test_foreign_messages_are_answered_and_the_air_goes_on():
    here, front, back = live(), free_port(), free_port()
    chance = random.Random(1)
    air = Air(schedule_of("awgn:10", None))
    with (
        network(None) as net,
        network(None) as theirs,
        served(net, Server(here), back),
        on_air(net, air, front, back) as relay,
    ):
        rude = theirs.connect(zmq.DEALER, front, MOST_BYTES)
        assert rude.poll(5000, zmq.POLLOUT)
        good = encode(here.modes[0], shot(0), 0).frame(bytes(16)).model_copy(update={"symbols": bytes(7)})
        for data in [b"", good.pack(), *(chance.randbytes(chance.randrange(300)) for _ in range(50))]:
            rude.send(data)
            assert rude.poll(5000)
            assert unpack(rude.recv(), Refused).reason == "frame"
        assert relay.refused == 52 and relay.carried == 0
        uplink = Uplink(theirs.connect(zmq.DEALER, front, here.most_bytes), here, 5, 60)
        answers = list(stream(Choice(here.modes), uplink, map(shot, range(2)), 0, again=True))
        assert all(isinstance(each.answer, Answer) for each in answers) and relay.carried == 2


def test_a_frame_is_a_frame_of_the_session_behind_the_air_too():
    here = live()
    frame = encode(here.modes[0], shot(0), 0).frame(bytes(range(16)))
    arrived = unpack(Air(schedule_of("rayleigh:5", None)).carry(frame).pack(), Frame)
    assert (arrived.session, arrived.number, arrived.per_token) == (frame.session, frame.number, frame.per_token)
