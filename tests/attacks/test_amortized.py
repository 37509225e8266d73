"""One decoder for many policies attacks those that it never saw, and is trained once."""

from __future__ import annotations

import pytest
import torch

from atm.errors import KnowledgeError
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import Knowledge, ThreatModel
from attacks.amortized import Amortized
from attacks.training import Schedule
from privacy_metrics import psnr
from tests.atm.models import tiny_encoder
from tests.attacks.planted import pictures

SERVER = ThreatModel("server")


@pytest.fixture(scope="module")
def system():
    return Link(tiny_encoder(), MergePolicy.uniform(1.0, 3))


AUXILIARY = pictures(300)  # the same tensor each time, by which fitted attacks are found again


def attack(link: Link) -> tuple[Amortized, torch.Tensor, torch.Tensor]:
    victims = pictures(20, seed=1)
    torch.manual_seed(0)
    made = Amortized(policies=4, schedule=Schedule(steps=200, every=50))
    made.fit(link, SERVER, AUXILIARY)
    return made, made.reconstruct(SERVER.observe(link.transmit(victims, 7), link, 8)), victims


def test_a_policy_that_it_never_saw_is_attacked_in_one_pass(system):
    mean = AUXILIARY.mean(0)
    for thresholds in ((1.0, 1.0, 1.0), (0.97, 0.93, 0.88)):
        _, rebuilt, victims = attack(system.with_policy(MergePolicy(thresholds)))
        floor = float(psnr(mean.expand_as(victims), victims).mean())
        assert float(psnr(rebuilt, victims).mean()) > floor + 2


def test_it_is_trained_once_for_all_policies_and_is_repeatable(system):
    first, once, _ = attack(system.with_policy(MergePolicy((0.9, 0.9, 0.9))))
    second, _, _ = attack(system.with_policy(MergePolicy((0.8, 0.9, 1.0))))
    assert first.decoder is second.decoder
    _, again, _ = attack(Link(tiny_encoder(), MergePolicy((0.9, 0.9, 0.9))))
    assert torch.equal(once, again)


def test_without_the_policy_it_says_what_it_lacks(system):
    blind = ThreatModel("blind").without_knowledge(Knowledge.POLICY)
    with pytest.raises(KnowledgeError, match=r"needs .*the merging policy"):
        Amortized().fit(system, blind, pictures(30))
