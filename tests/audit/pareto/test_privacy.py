"""The cheap score against what it stands for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from atm.errors import AtmError, KnowledgeError
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import PRESETS, Knowledge, ThreatModel
from attacks import linear
from attacks.base import patch_features
from attacks.ridge import Ridge
from attacks.session import Session
from audit.pareto.privacy import CrossFittedRidge, create_score
from privacy_metrics import ssim
from privacy_metrics.windowed import SsimTo
from tests.atm.models import tiny_encoder
from tests.attacks.planted import SIGNAL, PlantedLink

THREAT = ThreatModel("server")


@pytest.fixture(scope="module")
def link():
    encoder = tiny_encoder()
    return Link(encoder, MergePolicy.uniform(1.0, encoder.depth))


def pictures(count, side, seed=0):
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("shape", [(3, 3, 32, 32), (2, 3, 64, 48), (1, 3, 6, 7)])
def test_the_fast_ssim_is_ssim(shape):
    generator = torch.Generator().manual_seed(1)
    a, b = torch.rand(shape, generator=generator), torch.rand(shape, generator=generator)
    a[0] = b[0] * 0.9
    assert torch.allclose(SsimTo(b)(a), ssim(a, b), atol=2e-6)


def test_each_fold_is_rebuilt_as_the_ridge_attack_of_the_other_folds_would(link, monkeypatch):
    """Against `numpy.linalg.lstsq` with an intercept for each position, for a strength that hardly regularises."""
    monkeypatch.setattr(linear, "STRENGTHS", (1e-9,))
    images = pictures(60, link.encoder.input_shape[1])
    score = CrossFittedRidge()
    score.prepare(link, THREAT, images)
    features = patch_features(THREAT.observe(link.transmit(images), link)).double().float()
    rebuilt = score.rebuild(features)
    test = torch.zeros(60, dtype=torch.bool)
    test[score.folds[1]] = True
    train = ~test
    positions = features.shape[1]

    def design(x):
        intercepts = torch.eye(positions).expand(len(x), -1, -1)
        return torch.cat([x, intercepts], -1).flatten(0, 1).double().numpy()

    solution, *_ = np.linalg.lstsq(design(features[train]), score.pixels[train].flatten(0, 1).double().numpy(), 1e-10)
    expected = torch.tensor(design(features[test]) @ solution).view(int(test.sum()), positions, -1)
    expected = score.signal.from_units(expected.float()).clamp(0, 1)
    assert (rebuilt[test] - expected).abs().mean() < 2e-3


def test_no_image_takes_part_in_its_own_reconstruction(link):
    images = pictures(24, link.encoder.input_shape[1])
    features = torch.randn(24, link.encoder.patch_grid[0] ** 2, 5, generator=torch.Generator().manual_seed(0))
    score = CrossFittedRidge()
    score.prepare(link, THREAT, images)
    before = score.rebuild(features)
    changed = images.clone()
    changed[3] = 1 - changed[3]
    score.prepare(link, THREAT, changed)
    after = score.rebuild(features)
    moved = (before - after).abs().flatten(1).amax(1)
    own = next(rows for rows in score.folds if 3 in rows)
    assert moved[own[own != 3]].max() < 1e-4, "its fold was rebuilt without it"
    others = [i for i in range(24) if i not in own]
    assert moved[others].min() > 1e-4, "the other folds were rebuilt with it"


def test_noise_for_tokens_leaks_no_more_than_the_mean_image(link):
    images = pictures(80, link.encoder.input_shape[1])
    score = CrossFittedRidge()
    score.prepare(link, THREAT, images)
    noise = torch.randn(80, link.encoder.patch_grid[0] ** 2, 9, generator=torch.Generator().manual_seed(0))
    floor = ssim(images.mean(0).expand_as(images), images).mean()
    assert score.quality(score.rebuild(noise)).mean() < floor + 0.02


def test_it_ranks_policies_as_the_attack_with_its_own_images_does(link):
    images, own = pictures(60, link.encoder.input_shape[1]), pictures(200, link.encoder.input_shape[1], seed=5)
    score = CrossFittedRidge()
    score.prepare(link, THREAT, images)
    cheap, dear = [], []
    for threshold in (1.0, 0.995, 0.98, 0.95, 0.9, 0.7, 0.0):
        system = link.with_policy(MergePolicy.uniform(threshold, link.encoder.depth))
        transmission = system.transmit(images)
        cheap.append(float(score.score(system, transmission).mean()))
        attack = Session(system, THREAT, own).fitted(Ridge)
        dear.append(float(ssim(attack.reconstruct(THREAT.observe(transmission, system)), images).mean()))
    assert spearmanr(cheap, dear).statistic > 0.85


def leakage(link, threat, images, seed=3):
    score = CrossFittedRidge()
    score.prepare(link, threat, images)
    return float(score.score(link, link.transmit(images, 1), seed).mean())


def planted(strength):
    """Patches in the clear, each with a mark of its place."""
    mark = torch.randn(SIGNAL.places, SIGNAL.unit, generator=torch.Generator().manual_seed(3)) * strength
    return PlantedLink(lambda units: units + mark)


SHUFFLED, NO_MAP = PRESETS["server-shuffled"], PRESETS["server-no-map"]
BLIND = ThreatModel("blind").without_knowledge(Knowledge.ORDER | Knowledge.SIZES | Knowledge.WEIGHTS)


def test_hidden_places_are_no_privacy_where_tokens_tell_them():
    images = pictures(60, 32)
    known = leakage(planted(2.0), THREAT, images)
    assert leakage(planted(2.0), SHUFFLED, images) == pytest.approx(known, abs=0.01)
    assert leakage(planted(0.0), SHUFFLED, images) < known - 0.1, "and some where they do not"


def test_who_lacks_the_device_regresses_on_the_set_of_tokens():
    """Behind whoever can place them, before whoever sees noise; the order in which they come does not matter."""
    images = pictures(60, 32)
    link = planted(2.0)
    of_set = leakage(link, BLIND, images)
    assert of_set == pytest.approx(leakage(link, BLIND, images, seed=4), abs=1e-4)
    noise = torch.randn(60, 1, 9, generator=torch.Generator().manual_seed(0))
    score = CrossFittedRidge()
    score.prepare(link, BLIND, images)
    floor = float(score.quality(score.rebuild(noise)).mean())
    assert floor + 0.02 < of_set < leakage(link, SHUFFLED, images)


def test_a_fold_is_placed_without_its_own_maps():
    """With maps that are wrong in one fold alone, its own tokens go where they did, and other folds' do not."""
    images, link = pictures(60, 32), planted(0.0)
    score = CrossFittedRidge()
    score.prepare(link, SHUFFLED, images)
    heard = SHUFFLED.hear(link.transmit(images, 1), link, 0)
    seen, truth = SHUFFLED.told(heard, link, 0), SHUFFLED.true_map(heard, link, 0)
    wrong, rows = truth.clone(), score.folds[1]
    wrong[rows] = wrong[rows].flip(1)
    found, misled = (score._placed(seen, own, False).tokens.source for own in (truth, wrong))
    assert torch.equal(found[rows], misled[rows])
    assert not torch.equal(found, misled)


@pytest.mark.parametrize("threat", [*PRESETS, "blind"])
def test_every_adversary_has_a_score_and_who_knows_less_has_a_lower_one(link, threat):
    images = pictures(48, link.encoder.input_shape[1])
    found = leakage(link, PRESETS.get(threat, BLIND), images)
    assert 0 < found <= leakage(link, PRESETS["before-codec"], images) + 0.01


def test_whoever_has_no_pictures_has_no_score(link):
    with pytest.raises(KnowledgeError, match="auxiliary"):
        CrossFittedRidge().prepare(link, ThreatModel("none", knows=Knowledge.NOTHING), pictures(8, 32))


def test_an_unknown_score_is_named():
    with pytest.raises(AtmError, match="rigde"):
        create_score("rigde")
