"""Every peer undoes a leak that was planted for it, and finds nothing where there is none: none is a straw man."""

from __future__ import annotations

import math

import pytest
import torch

from atm.encoder import Encoded, Encoder
from atm.errors import KnowledgeError
from atm.knowledge import Knowledge
from atm.link import Link
from atm.policy import MergePolicy
from atm.signals import ImageSignal
from atm.threat import ThreatModel
from atm.threat import load as threat_of
from atm.tokens import TokenBatch
from attacks.budget import Budget, Plan
from attacks.session import Session
from benchmarks import peers
from benchmarks.peers import PEERS
from privacy_metrics import psnr, ssim
from tests.atm.models import tiny_encoder, tiny_vit
from tests.attacks.planted import GRID, pictures, rotation

NAMES = list(PEERS)
STEPS = {"inversion-network": 80, "position-decoder": 80, "deep-image-prior": 40}  # of the others: 80
AUXILIARY, VICTIMS = pictures(150), pictures(2, seed=1)
SERVER, SIGNAL = ThreatModel("server"), ImageSignal((3, 32, 32), GRID)


class Rotating(Encoder):
    """A secret rotation of each patch, differentiable; the constant makes tokens tell their length to a cosine too."""

    def forward(self, images, policy):
        values = (SIGNAL.to_units(images) - 0.5) @ rotation() + 0.2
        tokens = TokenBatch.dense(torch.cat([values.mean(1, keepdim=True), values], 1), 1)
        return Encoded(tokens, tokens.lengths.expand(4, -1), torch.zeros(len(images)).double())


def planted() -> Link:
    encoder = Rotating(tiny_vit(embed_dim=192)).eval().requires_grad_(False)
    return Link(encoder, MergePolicy.uniform(1.0, 3))


class Blind(Link):
    """What it transmits is made from other pictures than it is given."""

    def transmit(self, images, seed=0, batch=128):
        return super().transmit(pictures(len(images), seed=1000 + seed % 1000), seed, batch)


def real(threshold: float) -> Link:
    """The first layer of a tiny encoder that is as wide as a patch has values."""
    return Link(tiny_encoder(embed_dim=192), MergePolicy.uniform(threshold, 3, exit_layer=1))


def rebuild(name, link, threat=SERVER, victims=VICTIMS, steps=None, budget=None):
    session = Session(link, threat, AUXILIARY)
    torch.manual_seed(0)
    peer = PEERS[name](steps or STEPS.get(name, 80))
    peer.fit(session.oracle(budget))
    return peer.reconstruct(session.victims(victims)[1])


def gain(found, victims=VICTIMS):
    """Over the mean of the auxiliary images: decibels of PSNR, and SSIM."""
    mean = AUXILIARY.mean(0).expand_as(victims)
    return [float((metric(found, victims) - metric(mean, victims)).mean()) for metric in (psnr, ssim)]


@pytest.mark.parametrize("name", NAMES)
def test_a_planted_leak_is_undone(name):
    decibels, structure = gain(rebuild(name, planted()))
    assert decibels > 2 and structure > 0.1


@pytest.mark.parametrize("name", ["regularised-inversion", "drag-tokens"])
def test_descents_find_structure_through_a_real_encoder(name):
    assert gain(rebuild(name, real(1.0), steps=150))[1] > 0.1


@pytest.mark.parametrize("name", NAMES[:4])
def test_nothing_is_found_where_nothing_was_sent(name):
    victims = pictures(20, seed=1)
    link = planted()
    decibels, _ = gain(rebuild(name, Blind(link.encoder, link.policy), victims=victims, steps=10), victims)
    assert decibels < 0.3


@pytest.mark.parametrize("threat", ["server", "server-no-map", "server-shuffled"])
@pytest.mark.parametrize("name", NAMES)
def test_little_time_still_gives_pictures_with_and_without_the_map(name, threat):
    budget = Budget(0.2)
    found = rebuild(name, real(0.6), threat_of(threat), steps=peers.MOST_STEPS, budget=budget)
    assert budget.plan.steps and max(budget.plan.steps.values()) < peers.MOST_STEPS
    assert found.shape == VICTIMS.shape and bool(found.isfinite().all())
    assert float(found.min()) >= 0 and float(found.max()) <= 1


@pytest.mark.parametrize("name", NAMES)
def test_the_same_plan_gives_the_same_pictures(name):
    """Seconds choose steps once; on whatever machine, as many steps come to the same."""
    chosen = Budget(0.2)
    first = rebuild(name, real(0.6), steps=peers.MOST_STEPS, budget=chosen)
    again = rebuild(name, real(0.6), steps=peers.MOST_STEPS, budget=Budget(0, Plan(dict(chosen.plan.steps))))
    torch.testing.assert_close(again, first)


@pytest.mark.parametrize("name", NAMES[:2])
def test_a_decoder_without_time_answers_with_about_the_mean_colour(name):
    colour = AUXILIARY.mean((0, 2, 3))[:, None, None]
    found = rebuild(name, real(1.0), budget=Budget(0))
    assert float((found - colour).abs().mean()) < 0.15


@pytest.mark.parametrize("name", NAMES)
def test_denied_knowledge_is_an_error_by_name(name):
    for flag in PEERS[name].needs:
        blind = ThreatModel("blind", knows=Knowledge.EVERYTHING & ~flag)
        with pytest.raises(KnowledgeError, match=f"attack '{name}' needs .* 'blind' denies"):
            PEERS[name]().fit(Session(real(1.0), blind, AUXILIARY[:30]).oracle())


def test_the_position_decoder_learns_from_the_layer_that_sends(monkeypatch):
    """Without merging, but at the same exit: a decoder of another layer's tokens would be a straw man."""
    link, plain = real(0.6), []
    monkeypatch.setattr(link, "with_policy", lambda policy: plain.append(policy) or Link(link.encoder, policy))
    PEERS["position-decoder"]().fit(Session(link, SERVER, AUXILIARY[:30]).oracle(Budget(0)))
    assert plain[0].exit_layer == 1 and not any(plain[0].merges_at(layer) for layer in range(3))


def test_no_two_tokens_are_placed_on_one_cell():
    """Both prefer cell 0, the first more surely; the second goes to the cell that it likes next."""
    peer, values = PEERS["position-decoder"](), torch.tensor([[9.0], [1.0], [2.0]])
    tokens = TokenBatch(values, torch.tensor([3]), prefix=1)
    scores = torch.tensor([[[0.0, 0.0, 0.0], [5.0, 0.0, 0.0], [3.0, 0.0, 2.0]]])
    assert peer._placed(tokens, lambda padded, mask: scores).flatten().tolist() == [1.0, 0.0, 2.0]


def image_of(rows, columns):
    return torch.rand(2, 3, rows, columns, generator=torch.Generator().manual_seed(0))


def test_variations_are_the_formulas():
    image = image_of(4, 6)
    for b in range(2):
        down = [image[b, c, i + 1, j] - image[b, c, i, j] for c in range(3) for i in range(3) for j in range(6)]
        across = [image[b, c, i, j + 1] - image[b, c, i, j] for c in range(3) for i in range(4) for j in range(5)]
        drag = sum(abs(float(d)) for d in down + across) / (3 * 4 * 6)
        he = sum(float(d) ** 2 for d in down) / len(down) + sum(float(d) ** 2 for d in across) / len(across)
        assert float(peers.variation(image)[b]) == pytest.approx(drag, rel=1e-5)
        assert float(peers.squared_variation(image)[b]) == pytest.approx(he, rel=1e-5)


def test_the_boundary_prior_is_the_formula():
    image, patch, expected = image_of(8, 12), 4, 0.0
    for i in range(patch, 8, patch):
        squares = [float(image[1, c, i, j] - image[1, c, i - 1, j]) ** 2 for c in range(3) for j in range(12)]
        expected += math.sqrt(sum(squares))
    for j in range(patch, 12, patch):
        squares = [float(image[1, c, i, j] - image[1, c, i, j - 1]) ** 2 for c in range(3) for i in range(8)]
        expected += math.sqrt(sum(squares))
    assert float(peers.boundaries(image, patch)[1]) == pytest.approx(expected, rel=1e-5)


def test_losses_of_the_descents_are_the_formulas():
    link, image = planted(), pictures(2, seed=5)
    oracle = Session(link, SERVER, AUXILIARY[:30]).oracle()
    seen, candidate = oracle.tap(VICTIMS), oracle.tap(image)
    observed, sent = (torch.view_as_real(o.symbols).flatten(1).view(2, 17, -1) for o in (seen, candidate))
    normalised = link.encoder.normalise(image)
    for b in range(2):
        cosines = [float(torch.dot(x, y) / (x.norm() * y.norm())) for x, y in zip(sent[b], observed[b], strict=True)]
        cosine = sum(1 - c for c in cosines) / 17
        square = float((sent[b] - observed[b]).square().sum() / observed[b].square().sum())
        expected = {
            "drag-tokens": cosine
            + 1.5 * float(peers.variation(image)[b])
            + 1e-3 * float(peers.boundaries(normalised, 8)[b]),
            "deep-image-prior": cosine
            + 0.05 * float(peers.variation(normalised)[b])
            + 1e-3 * float(peers.boundaries(normalised, 8)[b]),
            "regularised-inversion": square + 10 * float(peers.squared_variation(normalised)[b]),
        }
        for name, loss in expected.items():
            peer = PEERS[name]()
            peer.fit(oracle)
            assert float(peer.loss(image, peer.likelihood.target(seen))[b]) == pytest.approx(loss, rel=1e-3)


def test_gradients_are_clipped_image_by_image():
    first, second = torch.zeros(2, 3), torch.zeros(4, 1)  # two images; the second tensor has two rows for each
    first.grad, second.grad = torch.tensor([[3.0, 0, 0], [0.1, 0, 0]]), torch.tensor([[4.0], [0], [0.2], [0]])
    peers.clip_each([first, second], 2)
    torch.testing.assert_close(first.grad, torch.tensor([[0.6, 0, 0], [0.1, 0, 0]]))
    torch.testing.assert_close(second.grad, torch.tensor([[0.8], [0], [0.2], [0]]))


def test_images_of_the_deep_image_prior_do_not_mix():
    torch.manual_seed(0)
    network, seed = peers._Hourglass(2), torch.randn(1, 6, 32, 32)
    other = torch.cat([seed[:, :3], torch.randn(1, 3, 32, 32)], 1)
    with torch.no_grad():
        torch.testing.assert_close(network(seed)[:, :3], network(other)[:, :3])
        assert not torch.allclose(network(seed)[:, 3:], network(other)[:, 3:])


def test_noise_on_the_prior_falls_as_published():
    assert [peers.noise_at(done) for done in (0.0, 0.6, 0.8, 0.9, 1.0)] == [5.0, 1.0, 0.5, 0.0, 0.0]
