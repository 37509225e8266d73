"""What a session hands out: queries counted in one place, secrets kept, the same fit for whoever asks again."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from atm import channels
from atm.errors import KnowledgeError
from atm.knowledge import Knowledge
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import PRESETS
from attacks.best_constant import BestConstant
from attacks.oracle import Oracle
from attacks.ridge import Ridge
from attacks.session import Campaign, Session
from tests.atm.models import tiny_encoder
from tests.attacks import planted

IMAGES = planted.pictures(20)
BLACK_BOX = dataclasses.replace(PRESETS["black-box"], queries=50)
SERVER = PRESETS["server"]


def link(keep: float = 0.8, snr_db: float = 20.0) -> Link:
    return Link(tiny_encoder(), MergePolicy.uniform(keep, 3), channel=channels.parse(f"awgn:{snr_db:g}"))


def fake(seed: int) -> torch.Tensor:
    return planted.pictures(20, seed)


def test_every_image_through_a_device_that_is_not_hers_is_a_query():
    session = Session(link(), BLACK_BOX, IMAGES)
    oracle = session.oracle()
    oracle.observe()
    oracle.observe()  # her pictures were sent once; what came back is kept
    assert session.queries.sent == 20
    oracle.tap(fake(1))
    oracle.within(session.budget()).without(Knowledge.SNR).tap(fake(2)[:10])  # however she holds it, one budget
    assert session.queries.sent == 50
    refused = (lambda: oracle.tap(fake(3)[:1]), lambda: oracle.observe(draw=1), lambda: session.oracle().tap(IMAGES))
    for ask in refused:
        with pytest.raises(KnowledgeError, match="allows 50 queries"):
            ask()
    assert session.queries.sent == 50  # what was refused was not sent


def test_another_policy_brings_no_fresh_queries():
    session = Session(link(), BLACK_BOX, IMAGES)
    session.oracle().observe()
    other = session.under(MergePolicy.uniform(0.5, 3))
    other.oracle().observe()
    assert session.queries is other.queries and session.queries.sent == 40
    with pytest.raises(KnowledgeError):
        other.oracle().tap(fake(1))


def test_whoever_runs_the_device_herself_sends_as_much_as_she_likes():
    session = Session(link(), SERVER, IMAGES)
    for draw in range(3):
        session.oracle().observe(draw=draw)
    session.oracle().under(MergePolicy.uniform(0.5, 3)).observe()
    assert session.queries.sent == 0


@pytest.mark.parametrize("denied", [Knowledge.WEIGHTS, Knowledge.CODEC, Knowledge.POLICY])
def test_without_all_that_it_takes_there_is_no_device_of_ones_own(denied):
    oracle = Session(link(), SERVER.without_knowledge(denied), IMAGES).oracle()
    with pytest.raises(KnowledgeError, match="a device of her own"):
        oracle.own_device()
    with pytest.raises(KnowledgeError, match="a device of her own"):
        oracle.under(MergePolicy.uniform(0.5, 3))
    if denied == Knowledge.POLICY:
        with pytest.raises(KnowledgeError, match="the policy"):
            oracle.policy()


def reachable(oracle: Oracle) -> list[object]:
    """All that can be had from an oracle by its fields, and by theirs, without calling anything."""
    found: list[object] = []
    rest: list[object] = [oracle]
    while rest:
        at = rest.pop()
        found.append(at)
        if dataclasses.is_dataclass(at):
            rest += [getattr(at, each.name) for each in dataclasses.fields(at)]
    return found


def test_no_field_of_an_oracle_holds_the_system_or_the_secret():
    campaign = Campaign(seed=3, secret=123456789)
    oracle = Session(link(), BLACK_BOX, IMAGES, campaign=campaign).oracle()
    held = reachable(oracle)
    assert not [each for each in held if isinstance(each, (Link, Session, Campaign, torch.nn.Module))]
    assert not [each for each in held if isinstance(each, int) and each == campaign.secret]


def test_hidden_order_and_noise_come_from_the_secret_and_attacks_from_the_seed():
    shuffled = PRESETS["server-shuffled"]

    def seen(seed: int, secret: int) -> tuple[torch.Tensor, torch.Tensor]:
        session = Session(link(), shuffled, IMAGES, campaign=Campaign(seed=seed, secret=secret))
        return session.victims(fake(1))[1].tokens.values, session.oracle().observe().tokens.values

    victims, hers = seen(0, 7)
    assert torch.equal(seen(1, 7)[0], victims) and torch.equal(seen(1, 7)[1], hers)
    again, hers_again = seen(0, 8)
    assert not torch.equal(again, victims) and not torch.equal(hers_again, hers)


def test_her_pictures_and_the_victims_never_share_noise_or_order():
    session = Session(link(keep=1.0), PRESETS["server-shuffled"], IMAGES)
    _, seen, _ = session.victims(IMAGES)
    assert not torch.equal(seen.tokens.values, session.oracle().observe().tokens.values)


def test_fitted_once_by_what_is_asked_not_by_where_it_lies():
    session = Session(link(), SERVER, IMAGES)
    assert session.fitted(Ridge) is session.oracle().fitted(Ridge)
    assert session.fitted(Ridge) is not session.oracle().without(Knowledge.SNR).fitted(Ridge)
    fresh = [Session(link(), SERVER, fake(seed)).fitted(Ridge) for seed in (1, 2, 3)]
    victims = Session(link(), SERVER, IMAGES).victims(fake(9))[1]
    rebuilt = [attack.reconstruct(victims) for attack in fresh]
    assert not torch.equal(rebuilt[0], rebuilt[1]) and not torch.equal(rebuilt[1], rebuilt[2])


def test_what_is_shared_over_policies_is_fitted_once_for_each_exit():
    campaign = Campaign()
    first, second = (Session(link(keep), SERVER, IMAGES, campaign=campaign).oracle() for keep in (0.8, 0.5))
    assert first.shared(Ridge) is second.shared(Ridge)
    early = Link(tiny_encoder(), MergePolicy.uniform(0.8, 3, exit_layer=1))
    assert Session(early, SERVER, IMAGES, campaign=campaign).oracle().shared(Ridge) is not first.shared(Ridge)


def test_an_answer_that_reads_no_token_is_found_once_for_all_policies():
    campaign = Campaign()
    first, second = (Session(link(keep), SERVER, IMAGES, campaign=campaign).fitted(BestConstant) for keep in (0.9, 0.5))
    assert first.answer is second.answer
    alone = Session(link(0.5), SERVER, IMAGES).fitted(BestConstant)
    assert torch.equal(first.answer, alone.answer)


@pytest.mark.parametrize("name", ["tome-2", "pitome-2"])
def test_what_is_shared_is_there_for_policies_that_remove_fixed_numbers(name):
    fixed = link().with_policy(MergePolicy.preset(name, link().encoder.depth))
    found = Session(fixed, SERVER, IMAGES).fitted(BestConstant)
    assert torch.equal(found.answer, Session(link(), SERVER, IMAGES).fitted(BestConstant).answer)


def test_the_same_seed_and_secret_give_the_same_attack():
    def rebuilt(seed: int) -> torch.Tensor:
        session = Session(link(), SERVER, IMAGES, campaign=Campaign(seed=seed))
        torch.manual_seed(torch.seed() % 2**31)  # whatever state the caller is in
        return session.fitted(Ridge).reconstruct(session.victims(fake(1))[1])

    assert torch.equal(rebuilt(0), rebuilt(0))
