"""Somebody who listens sees what an eavesdropper in one process sees, and no more than is on the wire."""

from __future__ import annotations

import itertools
import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import zmq

from atm.errors import AtmError
from atm.knowledge import Knowledge
from atm.link import Link
from atm.policy import MergePolicy
from atm.seeds import seed_of
from atm.threat import ThreatModel, load
from attacks import Attack
from attacks.ridge import Ridge
from attacks.session import Session
from audit.live.choosing import Choice
from audit.live.device import Uplink, encode, stream
from audit.live.ear import Ear, in_place, live_threat
from audit.live.ear import fitted as fitted_to
from audit.live.listening import Pictures, listen_to
from audit.live.protocol import MOST_BYTES, Frame, MessageError, Overheard, unpack
from audit.live.relay import Air, Schedule
from audit.live.server import Server
from audit.live.sockets import network
from audit.live.system import Live, LiveConfig
from tests.atm.models import tiny_encoder
from tests.audit.live.systems import alone, free_port, live, on_air, served, shot
from tests.systems import SHAPE, pictures

SESSION = bytes(16)


def unmerged(here: Live) -> Live:
    depth = here.link.encoder.depth
    return alone(here.link.with_policy(MergePolicy.uniform(1.0, depth, exit_layer=1)))


def frame(here: Live, number: int) -> Frame:
    return encode(here.modes[0], shot(number), 0).frame(SESSION)


class Grey(Attack):
    name = "grey"

    def fit(self, oracle):
        pass

    def reconstruct(self, seen):
        return torch.full((len(seen), 3, 32, 32), 0.5)


@pytest.mark.parametrize("merges", [True, False])
@pytest.mark.parametrize("codec", ["uncoded", "learned"])
@pytest.mark.parametrize("threat", ["eavesdropper:awgn:5", "eavesdropper", "stranger:rayleigh:8"])
def test_she_observes_what_she_would_in_one_process(merges, codec, threat):
    here = live(codec=codec) if merges else unmerged(live(codec=codec))
    who = live_threat(load(threat), here.link)
    ear = Ear(here.link, who, Grey(), seed=5)
    for number in range(3):
        got = ear.observe(frame(here, number))
        sent = here.link.transmit(shot(number).image[None])
        known = who.observe(sent, here.link, seed_of("ear", 5, number))
        assert torch.equal(got.tokens.values, known.tokens.values) and torch.equal(got.symbols, known.symbols)
        assert (got.tokens.source is None) == (known.tokens.source is None) == merges
        for own, other in ((got.tokens.sizes, known.tokens.sizes), (got.tokens.source, known.tokens.source)):
            assert (own is None) == (other is None) and (own is None or torch.equal(own, other))


def test_no_live_adversary_is_told_a_merge_map_that_is_a_secret():
    merging, plain = live().link, unmerged(live()).link
    assert in_place(plain) and not in_place(merging)
    assert not in_place(unmerged(live("shuffle")).link) and not in_place(unmerged(live("drop:0.5")).link)
    who = load("eavesdropper")
    assert Knowledge.MERGE_MAP not in live_threat(who, merging).knows
    assert Knowledge.MERGE_MAP in live_threat(who, plain).knows
    with pytest.raises(AtmError, match="does not listen"):
        live_threat(ThreatModel("server"), plain)


def fitted(link: Link, who: str) -> tuple[Attack, ThreatModel]:
    session = Session(link, live_threat(load(who), link), pictures(200, 9))
    return session.fitted(Ridge), session.threat


def test_a_planted_leak_is_found_and_where_there_is_nothing_nothing():
    here, originals = unmerged(live()), torch.cat([shot(number).image[None] for number in range(8)])
    scores = {}
    for who in ("eavesdropper:awgn:60", "eavesdropper:awgn:-40"):
        attack, threat = fitted(here.link, who)
        ear = Ear(here.link, threat, attack, 0, originals)
        rebuilt = [ear.rebuild(frame(here, number)) for number in range(8)]
        assert [each.number for each in rebuilt] == list(range(8))
        assert all(torch.equal(each.original, originals[each.number]) for each in rebuilt)
        scores[who] = sum(each.score for each in rebuilt) / 8
    assert scores["eavesdropper:awgn:60"] > 0.55, "tokens of a random victim after one layer, hardly any noise"
    assert scores["eavesdropper:awgn:-40"] < 0.3, "noise alone"


def test_an_attack_that_fails_is_named(monkeypatch):
    here = live()
    ear = Ear(here.link, live_threat(load("eavesdropper"), here.link), Grey(), 0)
    monkeypatch.setattr(Grey, "reconstruct", lambda self, seen: seen.nothing)
    with pytest.raises(AtmError, match="attack 'grey' failed on frame 0"):
        ear.rebuild(frame(here, 0))


def test_what_could_be_no_picture_is_no_reconstruction(monkeypatch):
    here = live()
    ear = Ear(here.link, live_threat(load("eavesdropper"), here.link), Grey(), 0)
    monkeypatch.setattr(Grey, "reconstruct", lambda self, seen: torch.full((1, 3, 32, 32), torch.nan))
    with pytest.raises(MessageError, match="NaN"):
        ear.rebuild(frame(here, 0))


def test_where_tokens_merge_what_is_fitted_is_what_is_heard():
    here = live(exit_layer=2)  # whose sizes are on the wire, and then where they are not
    plain = alone(Link(tiny_encoder(**SHAPE), here.link.policy, here.link.codec, here.link.channel))
    for each in (here, plain):
        attack, threat = fitted(each.link, "eavesdropper:awgn:10")
        rebuilt = Ear(each.link, threat, attack, 0).rebuild(frame(each, 0))
        assert rebuilt.image.shape == (3, 32, 32) and rebuilt.score is None


def test_frames_of_other_systems_are_not_listened_to():
    here, other = live(), live(codec="learned")
    ear = Ear(here.link, live_threat(load("eavesdropper"), here.link), Grey(), 0)
    for bad in (frame(other, 0), frame(here, 0).model_copy(update={"header": b"\xff" * 9})):
        with pytest.raises(AtmError):
            ear.rebuild(bad)


def test_every_frame_on_the_air_is_heard_published_and_kept(tmp_path: Path):
    here, addresses, done = live(), [free_port() for _ in range(4)], threading.Event()
    front, back, ears, told = addresses
    originals = torch.cat([shot(number).image[None] for number in range(3)])
    ear = Ear(here.link, live_threat(load("eavesdropper"), here.link), Grey(), 0, originals)
    folder, air = Pictures(tmp_path / "heard"), Air(Schedule(((0, here.link.channel),)))
    with (
        network(None) as net,
        network(None) as own,
        served(own, Server(here), back),
        on_air(net, air, front, back, ears),
    ):
        heard = listen_to({here.modes[0].tag: ear}, net, ears, told, done.is_set)
        shows = net.connect(zmq.SUB, told, MOST_BYTES)
        shows.setsockopt(zmq.SUBSCRIBE, b"")
        uplink = Uplink(net.connect(zmq.DEALER, front, here.most_bytes), here, 5, 60)

        def shots():
            for number in itertools.count():  # subscriptions take a moment to arrive
                if done.is_set():
                    return
                time.sleep(0.03)
                yield shot(number)

        sending = threading.Thread(target=lambda: list(stream(Choice(here.modes), uplink, shots(), 0, again=True)))
        sending.start()
        numbers = []
        for rebuilt in heard:
            folder.add(rebuilt)
            numbers.append(rebuilt.number)
            if len(numbers) > 5 and shows.poll(0):
                done.set()
        sending.join()
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "every one"
        message = unpack(shows.recv(), Overheard)
        assert message.attack == "grey" and message.png.startswith(b"\x89PNG") and message.score is not None
    lines = [json.loads(line) for line in (tmp_path / "heard/scores.jsonl").read_text().splitlines()]
    assert [line["number"] for line in lines] == numbers
    assert {path.name for path in (tmp_path / "heard").glob("*.png")} == {f"{number:06d}.png" for number in numbers}
    with pytest.raises(AtmError, match="holds something"):
        Pictures(tmp_path / "heard")


def test_the_attack_that_is_asked_for_is_the_one_that_is_fitted(victim, pictures):
    config = LiveConfig(
        victim=str(victim), data=str(pictures), policies=("none",), images=4, auxiliary=40, threat="eavesdropper:awgn:5"
    )
    lines: list[str] = []
    (ear,) = fitted_to(config, "ridge", quick=True, originals=True, say=lines.append).values()
    assert isinstance(ear.attack, Ridge) and "fitting ridge" in lines[0] and len(ear.originals) == 4
    with pytest.raises(AtmError, match="unknown attack 'rigde'"):
        fitted_to(config, "rigde")
    with pytest.raises(AtmError, match="does not listen"):
        fitted_to(replace(config, threat="server"), "ridge")
