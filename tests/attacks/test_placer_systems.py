"""A placer that was trained on an undefended system, handed to adversaries of every defence, codec and knowledge."""

from __future__ import annotations

from functools import cache

import pytest

from atm.errors import KnowledgeError
from atm.knowledge import Knowledge
from atm.threat import PRESETS
from atm.tokens import NOWHERE
from attacks.alignment import Alignment
from attacks.beginning import GONE_ON, LEFT, UNFIT
from attacks.placer import Placer, short
from attacks.session import Campaign, Session
from attacks.training import Schedule
from defenses.learned import Learned
from tests.systems import CHAINS, CODECS, DEFENCES, EXITS, pictures, system

ABOUT = {"width": 8, "layers": 1, "data": {"name": "others", "signals": 40}, "policy": "none"}
BRIEF = {"width": 8, "layers": 1, "schedule": Schedule(steps=3, batch=8, every=1)}
OTHERS = ("server-no-map", "stranger", "before-codec")
# Every defence against hidden order and one other adversary; codec and exit take turns.
CELLS = [
    (defence, threat, CODECS[d % len(CODECS)], EXITS[d // len(CODECS) % len(EXITS)])
    for d, defence in enumerate(("", *DEFENCES, *CHAINS))
    for threat in ("server-shuffled", OTHERS[(d + d // 3) % len(OTHERS)])
]


@pytest.fixture(autouse=True)
def few_rounds(monkeypatch):
    monkeypatch.setattr(Learned, "rounds", 3)


@cache
def placer(codec: str, exit_layer: int) -> Placer:
    shuffled = Session(
        system("", codec, exit_layer, "absolute", "awgn:10"), PRESETS["server-shuffled"], pictures(40, 7)
    )
    learned = shuffled.fitted(Alignment, **BRIEF)
    return Placer(learned.discriminant, learned.network, {**ABOUT, "layer": exit_layer}, short([]))


@pytest.mark.parametrize(("defence", "threat", "codec", "exit_layer"), CELLS)
def test_it_is_gone_on_from_or_left_aside_and_places_every_patch(defence, threat, codec, exit_layer):
    link = system(defence, codec, exit_layer, "absolute", "awgn:10")
    campaign = Campaign(placer=placer(codec, exit_layer))
    session = Session(link, PRESETS[threat], pictures(30, 1), campaign=campaign)
    assert session.beginning is None, "nothing was fitted yet"
    oracle = session.oracle()
    if Knowledge.MERGE_MAP in oracle.knows:  # as `position` does
        oracle = oracle.without(Knowledge.ORDER | Knowledge.MERGE_MAP)
    found = oracle.fitted(Alignment, **BRIEF)
    told = session.beginning
    if campaign.placer.suits(found.discriminant):
        assert told.outcome in (GONE_ON, LEFT) and 0 <= told.given <= 1
        assert told.outcome == GONE_ON or told.alone == told.placed
    else:
        assert (told.outcome, told.given, told.alone) == (UNFIT, None, told.placed)
    if threat.startswith("server"):  # others know sizes, or see symbols that may be as many as a token's features
        assert (told.outcome == UNFIT) == (threat == "server-no-map")
    assert 0 <= told.alone <= 1 and 0 <= told.placed <= 1
    _, seen, truth = session.victims(pictures(6))
    recovered = found.complete(seen.without_map(Knowledge.ORDER in oracle.told)).tokens.source
    assert recovered.shape == truth.shape and bool((recovered >= NOWHERE).all())
    assert bool((recovered < seen.tokens.lengths[:, None]).all())


def test_whoever_cannot_run_the_device_has_no_use_for_it():
    link = system("", "uncoded", 1, "absolute")
    session = Session(link, PRESETS["black-box"], pictures(30, 1), campaign=Campaign(placer=placer("uncoded", 1)))
    with pytest.raises(KnowledgeError, match="alignment"):
        session.fitted(Alignment, **BRIEF)
    assert session.beginning is None
