"""Whoever has the tokens and the model asks what the server could: through every codec, and over the air."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from atm import channels
from atm.asked_encoder import AskedEncoder
from atm.errors import KnowledgeError
from atm.language import Language, two_layers
from atm.link import Link
from atm.threat import PRESETS, load
from atm.victims.towers import lower_layers
from attacks.ask import Ask
from attacks.describe import Describe
from attacks.session import Session
from tests.atm.models import tiny_vit
from tests.questions import PROMPT, WIDTH, tiny_language, tokenizer
from tests.systems import CODECS, DEPTH, SHAPE, codec, pictures, policy

ANSWERS = ("red", "blue", "no", "yes")
VICTIMS, OWN = pictures(6), pictures(30, 1)
QUESTIONS = ["what colour is it ?", "is it red ?"] * 3


@cache
def asked() -> AskedEncoder:
    """As wide as the tokens that the shipped codec was made for."""
    torch.manual_seed(4)
    language = Language(tiny_language().model, two_layers(SHAPE["embed_dim"], WIDTH), tokenizer(), PROMPT, True).eval()
    return AskedEncoder(lower_layers(tiny_vit(**SHAPE), DEPTH), language, (0.5,), (0.5,)).eval().requires_grad_(False)


@pytest.mark.parametrize("kind", CODECS)
def test_at_the_server_she_is_told_what_the_server_is(kind):
    link = Link(asked(), policy(2), codec(kind, asked(), 2))
    session = Session(link, PRESETS["server"], OWN)
    transmission, seen, _ = session.victims(VICTIMS)
    answers = []
    for inquiry in (Ask(), Describe()):
        inquiry.fit(session.oracle())
        found = inquiry.ask(seen, QUESTIONS, ANSWERS)
        answers.append(found.answers if found.captions is None else found.captions)
    received = transmission.received.without_padding()[0]
    assert torch.equal(answers[0], asked().answer(received, link.policy, QUESTIONS, ANSWERS))
    assert answers[1] == tuple(asked().say(received, link.policy, ["Describe the picture."] * 6, 16))
    assert kind == "digital" or len({*answers[0].tolist()}) > 1, "it depends on the picture"


@pytest.mark.parametrize("kind", CODECS)
def test_over_the_air_her_answers_are_those_of_what_she_hears(kind):
    link = Link(asked(), policy(2), codec(kind, asked(), 2), channels.parse("awgn:10"))
    near, far = (Session(link, load(f"eavesdropper:awgn:{snr}"), OWN) for snr in (60, -20))
    whole = asked().answer(link.transmit(VICTIMS).sent, link.policy, QUESTIONS, ANSWERS)
    found = []
    for session in (near, far):
        inquiry = Ask()
        inquiry.fit(session.oracle())
        found.append(inquiry.ask(session.victims(VICTIMS)[1], QUESTIONS, ANSWERS).answers)
        assert found[-1].shape == (6,) and bool((found[-1] < len(ANSWERS)).all())
    if kind == "uncoded":
        assert int((found[0] == whole).sum()) >= int((found[1] == whole).sum())
        assert torch.equal(found[0], whole)


def test_who_lacks_the_weights_cannot_ask():
    session = Session(Link(asked(), policy(2)), PRESETS["black-box"], OWN)
    with pytest.raises(KnowledgeError, match="ask"):
        Ask().fit(session.oracle())
