"""Inferences find what was planted for them, and nothing where nothing is."""

from __future__ import annotations

import pytest
import torch

from atm.encoder import Encoded
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import Knowledge
from atm.tokens import TokenBatch
from attacks.identify import Identify
from attacks.session import Session
from attacks.traffic import Traffic
from tests.attacks.planted import SERVER, PlantedEncoder, PlantedLink, pictures, rotation


class Counting(PlantedEncoder):
    """A device that says only how many tokens there are, a number written into the first pixel of each image."""

    def forward(self, images: torch.Tensor, policy: MergePolicy) -> Encoded:
        lengths = images[:, 0, 0, 0].long()
        values = torch.zeros(int(lengths.sum()), self.width)
        source = torch.arange(16).remainder(lengths[:, None])
        return Encoded(
            TokenBatch(values, lengths, source=source), lengths.expand(4, -1), torch.zeros(len(images)).double()
        )


@pytest.mark.parametrize("planted", [True, False])
def test_traffic_reads_the_label_from_the_count_and_from_nothing_else(planted):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (600,), generator=generator)
    images = torch.zeros(600, 3, 32, 32)
    images[:, 0, 0, 0] = 10.0 + (5.0 * labels if planted else torch.randint(0, 5, (600,), generator=generator))
    system = Link(Counting(lambda p: p[..., :24]), MergePolicy.uniform(1.0, 3))
    session, attack = Session(system, SERVER, images[:400], labels=labels[:400]), Traffic()
    attack.fit(session.oracle())
    _, seen, _ = session.victims(images[400:])
    right = (attack.infer(seen, images[400:]).labels == labels[400:]).float().mean()
    assert right == 1 if planted else right < 0.36  # chance 0.25, four deviations above it


@pytest.mark.parametrize("denied", [Knowledge.NOTHING, Knowledge.WEIGHTS, Knowledge.MERGE_MAP])
@pytest.mark.parametrize("planted", [True, False])
def test_identify_finds_the_picture_again(planted, denied):
    link = PlantedLink((lambda p: p @ rotation()) if planted else (lambda p: torch.randn_like(p)))
    threat, victims = SERVER.without_knowledge(denied), pictures(60, seed=1)
    torch.manual_seed(0)
    attack = Identify()
    session = Session(link, threat, pictures(200))
    attack.fit(session.oracle())
    similarity = attack.infer(session.victims(victims)[1], victims).similarity
    found = (similarity.argmax(-1) == torch.arange(60)).float().mean()
    assert found > 0.95 if planted else found < 0.12


@pytest.mark.parametrize("planted", [True, False])
def test_identify_reads_a_label_only_where_there_is_one(planted):
    images = pictures(500)
    bright = (images.mean((1, 2, 3)) > images.mean((1, 2, 3)).median()).long()
    labels = bright if planted else bright[torch.randperm(500, generator=torch.Generator().manual_seed(0))]
    link, attack = PlantedLink(lambda p: p @ rotation()), Identify()
    session = Session(link, SERVER, images[:300], labels=labels[:300])
    attack.fit(session.oracle())
    answer = attack.infer(session.victims(images[300:])[1], images[300:]).labels
    right = (answer == labels[300:]).float().mean()
    assert right > 0.9 if planted else right < 0.65
