"""The cheap score against what it stands for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from atm.errors import AtmError, KnowledgeError
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import Knowledge, ThreatModel
from attacks import linear
from attacks.base import patch_features
from attacks.ridge import Ridge
from attacks.session import Session
from audit.pareto.privacy import CrossFittedRidge, create_score
from privacy_metrics import ssim
from privacy_metrics.windowed import SsimTo
from tests.atm.models import tiny_encoder

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
    fold = 1
    train, test = score.fold != fold, score.fold == fold
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
    own_fold = [i for i in range(24) if score.fold[i] == score.fold[3] and i != 3]
    assert moved[own_fold].max() < 1e-4, "its fold was rebuilt without it"
    assert moved[score.fold != score.fold[3]].min() > 1e-4, "the other folds were rebuilt with it"


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


def test_what_the_adversary_may_not_know_the_score_may_not_use(link):
    denied = ThreatModel("blind", knows=Knowledge.EVERYTHING & ~Knowledge.MERGE_MAP)
    with pytest.raises(KnowledgeError, match="merge map"):
        CrossFittedRidge().prepare(link, denied, pictures(8, link.encoder.input_shape[1]))


def test_an_unknown_score_is_named():
    with pytest.raises(AtmError, match="rigde"):
        create_score("rigde")
