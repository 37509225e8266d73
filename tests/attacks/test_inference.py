"""Inferences find what was planted for them, and nothing where nothing is."""

from __future__ import annotations

import pytest
import torch

from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import Knowledge, Observation, ThreatModel
from atm.tokens import TokenBatch
from attacks.identify import Identify
from attacks.traffic import Traffic
from tests.atm.models import tiny_encoder
from tests.attacks.planted import PlantedLink, pictures, rotation

SERVER = ThreatModel("server")


class Counting(ThreatModel):
    """An adversary who sees only how many tokens there were, a number written into the first pixel of each image."""

    def tap_images(self, link: Link, images: torch.Tensor, seed: int = 0) -> Observation:
        lengths = images[:, 0, 0, 0].long()
        count = int(lengths.sum())
        return Observation(TokenBatch(torch.zeros(count, 4), lengths), torch.zeros(count, 2), None)


@pytest.mark.parametrize("planted", [True, False])
def test_traffic_reads_the_label_from_the_count_and_from_nothing_else(planted):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (600,), generator=generator)
    images = torch.zeros(600, 3, 8, 8)
    images[:, 0, 0, 0] = 10.0 + (5.0 * labels if planted else torch.randint(0, 5, (600,), generator=generator))
    threat, link = Counting("counting"), Link(tiny_encoder(), MergePolicy.uniform(1.0, 3))
    attack = Traffic()
    attack.fit(link, threat, images[:400], labels[:400])
    right = (attack.infer(threat.tap_images(link, images[400:]), images[400:]).labels == labels[400:]).float().mean()
    assert right == 1 if planted else right < 0.36  # chance 0.25, four deviations above it


@pytest.mark.parametrize("denied", [Knowledge.NOTHING, Knowledge.WEIGHTS, Knowledge.MERGE_MAP])
@pytest.mark.parametrize("planted", [True, False])
def test_identify_finds_the_picture_again(planted, denied):
    link = PlantedLink((lambda p: p @ rotation()) if planted else (lambda p: torch.randn_like(p)))
    threat, victims = SERVER.without_knowledge(denied), pictures(60, seed=1)
    torch.manual_seed(0)
    attack = Identify()
    attack.fit(link, threat, pictures(200), None)
    similarity = attack.infer(threat.tap_images(link, victims, 5), victims).similarity
    found = (similarity.argmax(-1) == torch.arange(60)).float().mean()
    assert found > 0.95 if planted else found < 0.12


@pytest.mark.parametrize("planted", [True, False])
def test_identify_reads_a_label_only_where_there_is_one(planted):
    images = pictures(500)
    bright = (images.mean((1, 2, 3)) > images.mean((1, 2, 3)).median()).long()
    labels = bright if planted else bright[torch.randperm(500, generator=torch.Generator().manual_seed(0))]
    link, attack = PlantedLink(lambda p: p @ rotation()), Identify()
    attack.fit(link, SERVER, images[:300], labels[:300])
    answer = attack.infer(SERVER.tap_images(link, images[300:], 5), images[300:]).labels
    right = (answer == labels[300:]).float().mean()
    assert right > 0.9 if planted else right < 0.65
