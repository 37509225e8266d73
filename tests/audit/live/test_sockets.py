"""Who may join, how large a message may be, and what happens where nobody answers."""

from __future__ import annotations

import importlib.util

import pytest
import zmq

from atm.errors import AtmError
from audit.live import keys
from audit.live.choosing import Choice
from audit.live.device import Uplink, encode, stream
from audit.live.protocol import Answer
from audit.live.server import Server
from audit.live.sockets import Address, key_for, network
from audit.live.sources import Newest, Stills
from tests.audit.live.systems import free_port, hello, live, served, shot
from tests.systems import pictures


@pytest.fixture
def key_file(tmp_path):
    keys.write(tmp_path / "link.key")
    return tmp_path / "link.key"


def test_a_key_is_for_its_owner_alone_and_never_replaced(key_file, tmp_path):
    assert key_file.stat().st_mode & 0o777 == 0o600
    first = keys.SharedKey.read(key_file)
    assert first == keys.SharedKey.read(key_file) and first.binds != first.connects
    with pytest.raises(AtmError, match="is there already"):
        keys.write(key_file)
    keys.write(tmp_path / "other.key")
    assert keys.SharedKey.read(tmp_path / "other.key") != first
    key_file.chmod(0o644)
    with pytest.raises(AtmError, match="chmod 600"):
        keys.SharedKey.read(key_file)


@pytest.mark.parametrize("text", ["", "00" * 31, "00" * 33, "zz" * 32, "00" * 32 + "\n00"])
def test_what_is_no_key_is_refused(tmp_path, text):
    path = tmp_path / "bad.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(AtmError, match="no key"):
        keys.SharedKey.read(path)


@pytest.mark.parametrize("text", ["", ":", "x", "1.2.3.4", "1.2.3.4:0", "1.2.3.4:65536", "a b:5", "*:5", "h:-1", "h:٣"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(AtmError, match="HOST:PORT"):
        Address.parse(text)


def test_beyond_this_machine_a_key_is_needed(key_file):
    near, far = Address.parse("5555"), Address.parse("0.0.0.0:5555")
    assert near == Address("127.0.0.1", 5555) and near.local and not far.local
    assert key_for(None, False, [near]) is None and key_for(None, True, [far]) is None
    assert key_for(str(key_file), False, [far]) == keys.SharedKey.read(key_file)
    with pytest.raises(AtmError, match="--key FILE"):
        key_for(None, False, [near, far])
    with pytest.raises(AtmError, match="contradict"):
        key_for(str(key_file), True, [far])


def test_an_address_that_is_taken_is_refused():
    with network(None) as net:
        where = free_port()
        first = net.bind(zmq.ROUTER, where, 1000)
        with pytest.raises(AtmError, match="cannot listen"):
            net.bind(zmq.ROUTER, where, 1000)
        first.close()


def test_only_who_has_the_key_is_answered(key_file, tmp_path):
    here, where = live(), free_port()
    keys.write(tmp_path / "other.key")
    shared, other = keys.SharedKey.read(key_file), keys.SharedKey.read(tmp_path / "other.key")
    # One that knows the server's public key, and has another of its own.
    half = keys.SharedKey(shared.binds, other.connects)
    server = Server(here)
    with network(shared) as net, served(net, server, where):
        for key in (None, other, half):
            with network(key) as theirs:
                uplink = Uplink(theirs.connect(zmq.DEALER, where, here.most_bytes), here, 0.3, 0.5)
                with pytest.raises(AtmError, match="has not answered"):
                    uplink.ask(encode(here.modes[0], shot(0), 0), again=True)
        assert server.answered == server.refused == 0
        with network(shared) as theirs:
            uplink = Uplink(theirs.connect(zmq.DEALER, where, here.most_bytes), here, 5, 60)
            assert isinstance(uplink.ask(encode(here.modes[0], shot(0), 0), again=True), Answer)


def test_too_large_a_message_costs_its_sender_the_connection_and_nobody_else_anything():
    here, where = live(), free_port()
    server = Server(here)
    with network(None) as net, network(None) as theirs, served(net, server, where):
        rude = theirs.connect(zmq.DEALER, where, 2**30)
        assert rude.poll(5000, zmq.POLLOUT)
        rude.send(bytes(here.most_bytes + 1))
        assert not rude.poll(500)
        uplink = Uplink(theirs.connect(zmq.DEALER, where, here.most_bytes), here, 5, 60)
        answers = list(stream(Choice(here.modes), uplink, map(shot, range(2)), 0, again=True))
        assert all(each.answer is not None for each in answers) and server.refused == 0


def test_a_device_that_vanishes_in_mid_frame_is_forgotten():
    here, where = live(), free_port()
    with network(None) as net, served(net, Server(here), where):
        for _ in range(5):
            with network(None) as gone:
                lost = gone.connect(zmq.DEALER, where, here.most_bytes)
                assert lost.poll(5000, zmq.POLLOUT)
                lost.send_multipart([b"part"] * 9)  # more hops than there are
                lost.send(hello(here).pack())
        with network(None) as theirs:
            uplink = Uplink(theirs.connect(zmq.DEALER, where, here.most_bytes), here, 5, 60)
            assert isinstance(uplink.ask(encode(here.modes[0], shot(0), 0), again=True), Answer)


def test_another_system_ends_the_device_with_the_servers_words():
    here, where = live(), free_port()
    other = live()
    other.agreement["victim"] = "w" * 64
    with network(None) as net, network(None) as theirs, served(net, Server(other), where):
        uplink = Uplink(theirs.connect(zmq.DEALER, where, here.most_bytes), here, 5, 60)
        with pytest.raises(AtmError, match="another system: its victim is wwwwwwwwwwww, the device's is vvvvvvvvvvvv"):
            uplink.ask(encode(here.modes[0], shot(0), 0), again=True)


def test_a_slow_taker_gets_the_newest_picture_and_nothing_queues():
    import time

    images = pictures(30)
    paced = Newest(Stills(images, 1), fps=1000)
    taken = []
    for each in paced:
        assert len(paced._slot) <= 1
        taken.append(each.number)
        while paced._thread.is_alive() and len(taken) == 2:  # so slow that the source ends meanwhile
            time.sleep(0.001)
    assert taken == sorted(taken) and taken[-1] == 29 and len(taken) + paced.dropped == 30


def test_a_source_that_fails_says_so():
    def broken(number):
        raise AtmError("the camera is gone")

    with pytest.raises(AtmError, match="the camera is gone"):
        list(Newest(broken, fps=100))


def test_without_its_packages_it_says_what_to_install(monkeypatch):
    import audit.live

    there = importlib.util.find_spec
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None if name == "zmq" else there(name))
        with pytest.raises(AtmError, match=r"needs zmq; in the checkout, do: (uv )?pip install -e '\.\[live\]'"):
            importlib.reload(audit.live)
    importlib.reload(audit.live)
