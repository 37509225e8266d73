"""One decoder for many policies attacks those that it never saw, and is trained once."""

from __future__ import annotations

import pytest
import torch

from atm.errors import KnowledgeError
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import Knowledge, ThreatModel
from attacks.amortized import Amortized, _spread
from attacks.session import Campaign, Session
from attacks.training import Schedule
from privacy_metrics import psnr
from tests.atm.models import tiny_encoder
from tests.attacks.planted import pictures

SERVER = ThreatModel("server")


@pytest.fixture(scope="module")
def system():
    return Link(tiny_encoder(), MergePolicy.uniform(1.0, 3))


AUXILIARY = pictures(300)


def attack(link: Link, campaign: Campaign) -> tuple[Amortized, torch.Tensor, torch.Tensor]:
    victims = pictures(20, seed=1)
    torch.manual_seed(0)
    made = Amortized(policies=4, schedule=Schedule(steps=200, every=50))
    session = Session(link, SERVER, AUXILIARY, campaign=campaign)
    made.fit(session.oracle())
    return made, made.reconstruct(session.victims(victims)[1]), victims


def test_a_policy_that_it_never_saw_is_attacked_in_one_pass(system):
    mean, campaign = AUXILIARY.mean(0), Campaign()
    for thresholds in ((1.0, 1.0, 1.0), (0.97, 0.93, 0.88)):
        _, rebuilt, victims = attack(system.with_policy(MergePolicy(thresholds)), campaign)
        floor = float(psnr(mean.expand_as(victims), victims).mean())
        assert float(psnr(rebuilt, victims).mean()) > floor + 2


def test_it_is_trained_once_for_all_policies_and_is_repeatable(system):
    campaign = Campaign()
    first, once, _ = attack(system.with_policy(MergePolicy((0.9, 0.9, 0.9))), campaign)
    second, _, _ = attack(system.with_policy(MergePolicy((0.8, 0.9, 1.0))), campaign)
    assert first.decoder is second.decoder
    link = Link(tiny_encoder(), MergePolicy((0.9, 0.9, 0.9)))
    third, again, _ = attack(link, Campaign())
    assert third.decoder is not first.decoder and torch.equal(once, again)
    _, other, _ = attack(link, Campaign(seed=1))
    assert not torch.equal(once, other), "repeats differ"


def test_without_the_policy_it_says_what_it_lacks(system):
    blind = ThreatModel("blind").without_knowledge(Knowledge.POLICY)
    with pytest.raises(KnowledgeError, match=r"needs .*the merging policy"):
        Amortized().fit(Session(system, blind, pictures(30)).oracle())


def test_it_trains_on_policies_that_match_and_merge_as_the_victims():
    like = MergePolicy.fixed_ratio(2, 3, similarity="size-aware", exit_layer=2)
    spread = _spread(6, like)
    assert len(spread) == 6 and len({policy.thresholds for policy in spread}) == 6
    for policy in spread:
        kept = ("match", "average", "similarity", "order", "proportional_attention", "exit_layer")
        assert all(getattr(policy, name) == getattr(like, name) for name in kept) and not policy.remove
