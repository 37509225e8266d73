"""A pretend accelerator, and a real one, give the CPU's numbers: all defences, channels, victims, closed-form attacks.

Attacks that take steps are in `tests.audit.test_device`, with few of them: the more, the more they make of rounding,
also on the CPU. After 150 steps a change of 1e-7 in the adversary's pictures moves a decoder's answers by .0015.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import pytest
import torch
from torch import Tensor

import defenses
from atm.encoder import Encoder
from atm.link import Link
from atm.threat import PRESETS
from attacks import available, inferences
from attacks.session import Campaign, Session
from defenses.learned import Learned
from tests.pretend_device import DeviceError, pretend_device
from tests.systems import CHAINS, CHANNELS, DEFENCES, EXITS, VICTIMS, channel, codec, pictures, policy, refused, victim

IMAGES, OWN = pictures(4), pictures(30, 1)
CLOSED = ("mean_image", "best_constant", "random_image", "nearest", "ridge", "whole", "identify", "traffic")
# Every defence and every channel; codec, exit and victim take turns.
CELLS = [
    (defence, CHANNELS[d % len(CHANNELS)], ("uncoded", "learned")[d % 2], EXITS[d // 2 % 2], kind)
    for d, defence in enumerate(("", *DEFENCES, *CHAINS))
    for kind in VICTIMS
    if not refused(defence, kind)
]


@contextmanager
def on(kind: str) -> Iterator[torch.device]:
    """A device that is not the CPU."""
    if kind == "pretend":
        with pretend_device() as device:
            yield device
        return
    yield torch.device("cuda", 0)


KINDS = pytest.mark.parametrize("kind", ["pretend", pytest.param("cuda", marks=pytest.mark.gpu)])


def linked(device: torch.device | str, cell: tuple[str, str, str, int, str]) -> Link:
    """A system of a device's own, fitted there."""
    defence, over, codec_kind, exit_layer, kind = cell
    encoder: Encoder = deepcopy(victim(kind)).to(device)
    coded = deepcopy(codec(codec_kind, victim(kind), exit_layer))
    coded = coded.to(device) if isinstance(coded, torch.nn.Module) else coded  # one without weights stays
    link = Link(encoder, policy(exit_layer), coded, channel(over))
    if not defence:
        return link
    return defenses.fitted(defenses.create(defence), link, pictures(24, 3).to(device))


def sent(device: torch.device | str, cell: tuple[str, str, str, int, str]) -> list[Tensor]:
    done = linked(device, cell).transmit(IMAGES.to(device), 1)
    assert {part.device for part in (done.logits, done.on_air, done.received.values)} == {torch.device(device)}
    return [part.cpu() for part in (done.logits, done.on_air, done.received.values, done.symbols, done.sent.lengths)]


@KINDS
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_what_is_sent_and_answered_is_the_same(cell, kind, monkeypatch):
    monkeypatch.setattr(Learned, "rounds", 1)
    expected = sent("cpu", cell)
    with on(kind) as device:
        for own, other in zip(sent(device, cell), expected, strict=True):
            torch.testing.assert_close(own, other, atol=1e-3, rtol=1e-3)  # one defence is trained


def concluded(device: torch.device | str, name: str) -> list[Tensor]:
    link = linked(device, ("", "awgn:10", "learned", 2, "absolute"))
    campaign = Campaign(quick=True)
    session = Session(link, PRESETS["server"], OWN, labels=torch.arange(len(OWN)) % 5, campaign=campaign)
    attack = session.fitted((available() | inferences())[name])
    _, seen, _ = session.victims(IMAGES.to(device))
    torch.manual_seed(0)
    if name in available():
        return [attack.reconstruct(seen).cpu()]
    found = attack.infer(seen, OWN.to(device))
    return [part.cpu() for part in (found.labels, found.similarity) if part is not None]


@KINDS
@pytest.mark.parametrize("name", CLOSED)
def test_what_is_concluded_is_the_same(name, kind):
    expected = concluded("cpu", name)
    assert expected
    with on(kind) as device:
        for own, other in zip(concluded(device, name), expected, strict=True):
            torch.testing.assert_close(own, other, atol=1e-3, rtol=1e-3)


def test_the_pretend_device_refuses_what_a_real_one_would():
    with pretend_device() as device:
        with pytest.raises(DeviceError, match="two devices"):
            torch.ones(2, device=device) + torch.ones(2)
        with pytest.raises(DeviceError, match="random numbers"):
            torch.rand(2, device=device)
