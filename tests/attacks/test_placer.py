"""What places tokens, kept in a file: it comes back as it was, and is gone on from only where it helps."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from safetensors.torch import save_file

from atm.errors import AtmError
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import Knowledge, ThreatModel
from atm.weight_files import read_tensors
from attacks.alignment import Alignment
from attacks.placer import Placer, short
from attacks.session import Campaign, Session
from attacks.training import Schedule
from tests.atm.models import tiny_encoder
from tests.attacks.planted import pictures

SHUFFLED = ThreatModel("shuffled").without_knowledge(Knowledge.ORDER | Knowledge.SIZES)
SCHEDULE = Schedule(rate=3e-3, steps=300, batch=32, every=50)
HASHES = [f"{number:064x}" for number in (2**200, 2**201 + 1)]
ABOUT = {"width": 32, "layers": 1, "data": {"name": "others", "signals": 2}, "policy": "none"}


@pytest.fixture(scope="module")
def link():
    encoder = tiny_encoder()
    return Link(encoder, MergePolicy.uniform(0.9, encoder.depth))


def aligned(link, images, placer=None, **parameters):
    session = Session(link, SHUFFLED, images, campaign=Campaign(placer=placer))
    schedule = parameters.pop("schedule", SCHEDULE)
    return session.fitted(Alignment, width=32, layers=1, schedule=schedule, **parameters), session


def placer_of(alignment, **more):
    return Placer(alignment.discriminant, alignment.network, {**ABOUT, **more}, short(HASHES))


def placed(alignment, session, images):
    _, seen, truth = session.victims(images)
    return float((alignment.complete(seen).tokens.source == truth).float().mean())


@pytest.fixture(scope="module")
def trained(link):
    return aligned(link, pictures(600, seed=1))[0]


def test_it_comes_back_from_its_file_as_it_was(link, trained, tmp_path):
    placer_of(trained, layer=3).write(tmp_path / "placer.safetensors")
    back = Placer.read(tmp_path / "placer.safetensors")
    fresh, session = aligned(link, pictures(60, seed=2), schedule=Schedule(steps=1))
    seen = session.oracle().observe(torch.arange(8))
    fresh.discriminant, fresh.network = back.begin(trained.discriminant)
    torch.testing.assert_close(fresh.scores(seen), trained.scores(seen), rtol=0, atol=0)
    assert back.description["layer"] == 3 and len(back.digest) == 64
    assert back.knows(HASHES) == 2 and back.knows([HASHES[0], "ff" * 32]) == 1
    said = "She learned beforehand where tokens belong, from 2 pictures of others under policy none, and goes on"
    assert back.in_words("picture").startswith(said)


def test_few_pictures_place_more_tokens_where_many_were_learned_from_before(link, trained):
    few, victims = pictures(60, seed=3), pictures(40, seed=4)
    alone, before = aligned(link, few), aligned(link, few, placer_of(trained))
    rates = [placed(*each, victims) for each in (alone, before)]
    assert rates[1] > rates[0] + 0.05, rates


def test_one_that_places_nothing_is_not_gone_on_from(link, trained):
    """Whoever hands an adversary a bad placer must not weaken her."""
    few = pictures(200, seed=3)
    torch.manual_seed(0)
    slopes = torch.randn_like(trained.discriminant.slopes)
    bad = Placer(dataclasses.replace(trained.discriminant, slopes=slopes), trained.network, ABOUT, short([]))
    alone, misled = aligned(link, few)[0], aligned(link, few, bad)[0]
    assert alone.history.best_step and misled.history.train == alone.history.train
    for name, value in alone.network.state_dict().items():
        torch.testing.assert_close(misled.network.state_dict()[name], value)
    torch.testing.assert_close(misled.discriminant.slopes, alone.discriminant.slopes)


def test_one_that_places_a_little_does_not_weaken_who_learns_more_from_her_own(link):
    """It is held against what her own pictures have taught, and not against what tokens tell before."""
    own, short_time = pictures(400, seed=5), Schedule(rate=3e-3, steps=40, batch=32, every=10)
    little = placer_of(aligned(link, pictures(300, seed=1), schedule=short_time)[0])
    alone, session = aligned(link, own)
    before, _ = aligned(link, own, schedule=Schedule(steps=1, rate=0.0))
    held = session.oracle().rehearse(torch.arange(360, 400))
    assert before._worse_than(little, held) and not alone._worse_than(little, held)
    held_back = aligned(link, own, little)[0]
    assert held_back.history.train == alone.history.train
    torch.testing.assert_close(held_back.discriminant.slopes, alone.discriminant.slopes)


def test_one_for_other_tokens_is_left_alone(link, trained):
    other = dataclasses.replace(trained.discriminant, ordered=True)
    assert not placer_of(trained).suits(other)
    narrow = dataclasses.replace(trained.discriminant, slopes=trained.discriminant.slopes[:-1])
    assert not placer_of(trained).suits(narrow)
    ordered = Placer(other, trained.network, ABOUT, short([]))
    few = pictures(60, seed=3)
    torch.testing.assert_close(
        aligned(link, few, ordered)[0].discriminant.slopes, aligned(link, few)[0].discriminant.slopes
    )


@pytest.mark.parametrize("broken", ["kind", "tensor", "sizes", "about"])
def test_what_is_no_whole_placer_is_refused_in_one_line(trained, tmp_path, broken):
    path = tmp_path / "placer.safetensors"
    about = {key: value for key, value in ABOUT.items() if broken != "about" or key != "data"}
    network = trained.network
    if broken == "sizes":
        about["width"] = 64
    Placer(trained.discriminant, network, about, short(HASHES)).write(path)
    if broken in ("kind", "tensor"):
        metadata, state = read_tensors(path)
        if broken == "kind":
            metadata = {"atm": '{"kind": "head"}'}
        else:
            del state["discriminant.mean"]
        save_file(state, path, metadata)
    _refused(path)


@pytest.mark.parametrize(
    ("described", "tensors"),
    [
        ({"width": 10**12}, {}),
        ({"width": 34}, {}),
        ({"width": float("inf")}, {}),
        ({"layers": 10**9}, {}),
        ({"layers": 0}, {}),
        ({"closed_form": []}, {}),
        ({"data": []}, {}),
        ({}, {"discriminant.slopes": torch.zeros(24)}),
        ({}, {"discriminant.slopes": torch.zeros(0, 16)}),
        ({}, {"discriminant.mean": torch.zeros(3)}),
        ({}, {"discriminant.held": torch.zeros(3)}),
        ({}, {"discriminant.more\n": torch.zeros(3)}),
        ({}, {"network.more": torch.zeros(3)}),
        ({}, {"learned": torch.zeros(2, 8)}),  # whose bytes are those of no hash
        ({}, {"learned": torch.zeros(16, dtype=torch.uint8)}),
    ],
)
def test_what_makes_no_sense_is_refused_before_it_takes_memory(trained, tmp_path, described, tensors):
    path = tmp_path / "placer.safetensors"
    placer_of(trained).write(path)
    metadata, state = read_tensors(path)
    text = json.dumps({**json.loads(metadata["atm"]), **described})
    save_file({**state, **tensors}, path, {"atm": text})
    _refused(path)


def test_a_file_of_another_type_of_numbers_is_read_as_its_own(trained, tmp_path):
    path = tmp_path / "placer.safetensors"
    placer_of(trained, policy="\x1b[31m").write(path)
    metadata, state = read_tensors(path)
    save_file(
        {name: part.double() if part.is_floating_point() else part for name, part in state.items()}, path, metadata
    )
    back = Placer.read(path)
    torch.testing.assert_close(back.discriminant.slopes, trained.discriminant.slopes, rtol=0, atol=0)
    assert "\x1b" not in back.in_words("picture")


def _refused(path):
    with pytest.raises(AtmError) as refused:
        Placer.read(path)
    assert "\n" not in str(refused.value) and str(path) in str(refused.value)
