"""Messages: whatever bytes come, they are a message or refused in one line; and a frame has what was claimed."""

from __future__ import annotations

import math
import struct
from contextlib import suppress

import msgpack
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atm.seeds import seed_of
from audit.live.device import encode
from audit.live.protocol import (
    SYMBOL,
    Answer,
    Frame,
    Hello,
    Message,
    MessageError,
    Overheard,
    Refused,
    Welcome,
    unpack,
)
from audit.live.system import frame_symbols
from tests.audit.live.systems import live, shot

KINDS: tuple[type[Message], ...] = (Hello, Welcome, Refused, Frame, Answer, Overheard)
SESSION = bytes(16)
TEXT = st.text(max_size=40)
WORDS = st.dictionaries(TEXT, TEXT, max_size=3)
TAG = "0123456789abcdef"
GOOD = st.one_of(
    st.builds(Hello, version=st.integers(0, 2**63 - 1), system=WORDS, policies=st.lists(WORDS, min_size=1, max_size=3)),
    st.builds(Welcome, session=st.binary(min_size=16, max_size=16)),
    st.builds(Refused, reason=st.sampled_from(["version", "session", "frame"]), words=TEXT),
    st.builds(Frame, session=st.just(SESSION), number=st.integers(0, 2**63 - 1), policy=st.just(TAG),
              per_token=st.integers(1, 9), symbols=st.binary(max_size=80), header=st.binary(max_size=9),
              snr_db=st.one_of(st.none(), st.floats(allow_nan=False), st.binary(max_size=40))),
)  # fmt: skip
PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(), TEXT, st.binary(max_size=20)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(GOOD)
def test_a_message_comes_back_as_it_was(message):
    assert unpack(message.pack(), *KINDS) == message


@settings(max_examples=400)
@given(st.one_of(st.binary(max_size=200), PLAIN.map(lambda each: msgpack.packb(each) if fits(each) else b"")))
def test_foreign_bytes_are_refused_in_one_line(data):
    with pytest.raises(MessageError) as error:
        unpack(data, *KINDS)
    assert str(error.value).isprintable()


@settings(max_examples=400)
@given(GOOD, st.data())
def test_a_damaged_message_is_refused_or_another_message(message, data):
    packed = bytearray(message.pack())
    for _ in range(data.draw(st.integers(1, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    packed = packed[: data.draw(st.integers(0, len(packed)))]
    try:
        got = unpack(bytes(packed), *KINDS)
    except MessageError as error:
        assert str(error).isprintable()
        return
    assert isinstance(got, KINDS)
    if isinstance(got, Frame):
        for read in (got.tensor, got.quality):
            with suppress(MessageError):
                read()


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x91" * 5000,
     b"\x81\xa4kind\xa5frame", msgpack.packb({"kind": "frame", "kind ": 1}), msgpack.packb({1: 2}),
     msgpack.packb({"kind": "hello", "version": 1, "system": {"a": "b" * 5000}}),
     msgpack.packb({"kind": "hello", "version": True, "system": {}}),
     msgpack.packb({"kind": "hello", "version": 1, "system": {}, "more": 1}),
     msgpack.packb({"kind": "welcome", "session": "0" * 16})],
)  # fmt: skip
def test_what_has_no_meaning_is_refused(data):
    with pytest.raises(MessageError):
        unpack(data, *KINDS)


def test_a_kind_that_has_no_meaning_here_is_refused():
    with pytest.raises(MessageError, match="no meaning here"):
        unpack(Welcome(session=SESSION).pack(), Hello, Frame)


@pytest.mark.parametrize(
    "change",
    [
        {"symbols": b""},
        {"symbols": bytes(12)},
        {"symbols": b"\x00\x00\xc0\x7f" * 4},
        {"symbols": b"\x00\x00\x80\x7f" * 4},
        {"symbols": struct.pack("<4f", 0, 3e38, 0, 0)},
    ],
)
def test_symbols_that_are_none_are_refused(change):
    frame = Frame(session=SESSION, number=0, policy=TAG, per_token=2, symbols=bytes(16), header=b"")
    assert frame.tensor().shape == (1, 2)
    with pytest.raises(MessageError):
        frame.model_copy(update=change).tensor()


@pytest.mark.parametrize("logits", [b"", b"abc", struct.pack("<f", math.nan), struct.pack("<2f", 1, -math.inf)])
def test_logits_that_are_none_are_no_answer(logits):
    answer = Answer(number=0, logits=struct.pack("<2f", 1, 2), symbols=1, snr_db=math.inf, seconds=0.1)
    assert answer.tensor().tolist() == [1, 2]
    with pytest.raises(MessageError):
        unpack(answer.model_copy(update={"logits": logits}).pack(), Answer)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_numbers_that_json_has_not_are_refused(number):
    answer = Answer(number=0, logits=bytes(4), symbols=1, snr_db=1.0, seconds=0.1)
    heard = Overheard(number=0, attack="ridge", png=b"", score=0.5, snr_db=1.0)
    for good, field in ((answer, "seconds"), (heard, "score")):
        assert unpack(good.pack(), type(good)) == good
        with pytest.raises(MessageError):
            unpack(good.model_copy(update={field: number}).pack(), type(good))


@pytest.mark.parametrize("snr", [math.nan, bytes(4), b"\x00\x00\xc0\x7f" * 2])
def test_a_quality_that_is_none_is_refused(snr):
    frame = Frame(session=SESSION, number=0, policy=TAG, per_token=2, symbols=bytes(16), header=b"", snr_db=snr)
    with pytest.raises(MessageError):
        frame.quality()


@pytest.mark.parametrize("codec", ["uncoded", "learned"])
@pytest.mark.parametrize("victim", ["absolute", "rotary"])
@pytest.mark.parametrize("defence", ["", "pad:8", "drop:0.5"])
def test_bytes_on_the_wire_are_the_symbols_that_reports_count(codec, victim, defence):
    here = live(defence, victim, codec)
    for number in range(3):
        sending = encode(here.modes[0], shot(number), seed=3)
        frame = sending.frame(SESSION)
        claimed = here.link.transmit(shot(number).image[None], seed=seed_of("defence", 3, number))
        assert torch.equal(frame.tensor(), claimed.on_air)
        k = here.link.codec.symbols_per_token
        assert len(frame.symbols) == SYMBOL * k * frame.tokens and frame.tokens == claimed.sent.counts[0]
        assert len(frame.header) == math.ceil(sending.bits / 8)
        assert frame_symbols(frame.tokens, k, sending.bits) == claimed.symbols[0]
        assert len(frame.pack()) - len(frame.symbols) - len(frame.header) < 150, "and hardly anything around them"
        assert len(frame.received(frame.tensor(), torch.zeros(frame.tokens, k)).pack()) <= here.most_bytes


def fits(value: object) -> bool:
    """Whether msgpack has such numbers."""
    if isinstance(value, dict):
        return all(map(fits, value.values()))
    if isinstance(value, list):
        return all(map(fits, value))
    return not isinstance(value, int) or -(2**63) <= value < 2**64
