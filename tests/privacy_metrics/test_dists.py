"""DISTS with random features, and what is said where there are no weights."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torchvision.models.vgg import cfgs, make_layers

from privacy_metrics import METRICS, MetricUnavailable
from privacy_metrics import dists as module
from privacy_metrics.dists import FILE, dists
from tests.privacy_metrics.images import noisy, photos


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    module._network.cache_clear()
    yield tmp_path / "hub" / "checkpoints" / FILE
    module._network.cache_clear()


def test_missing_and_damaged_weights_are_told_in_one_line(home):
    with pytest.raises(MetricUnavailable, match=f"{FILE}.*not in TORCH_HOME") as missing:
        dists(photos(2), photos(2))
    assert "\n" not in str(missing.value)
    module._network.cache_clear()
    home.write_bytes(b"no weights")
    with pytest.raises(MetricUnavailable, match="damaged"):
        dists(photos(2), photos(2))


def test_a_file_that_would_run_something_is_not_unpickled(home, tmp_path):
    torch.save({"features.0.weight": pytest.raises}, home)
    with pytest.raises(MetricUnavailable, match="damaged"):
        dists(photos(2), photos(2))


def test_with_random_features_it_is_a_distance_image_by_image(home, monkeypatch):
    torch.manual_seed(0)
    made = SimpleNamespace(features=make_layers(cfgs["D"], batch_norm=False))
    monkeypatch.setattr("torchmetrics.functional.image.dists.vgg16", lambda weights: made)
    torch.save({}, home)
    monkeypatch.setattr(module, "BATCH", 2)
    before = torch.get_rng_state()
    original, rebuilt = photos(3), noisy(photos(3))
    found = dists(rebuilt, original)
    assert torch.equal(torch.get_rng_state(), before), "the experiment's random numbers stay what they are"
    assert found.shape == (3,) and bool((found > 0).all())
    assert dists(original, original).abs().max() < 1e-5
    assert torch.allclose(found[1:2], dists(rebuilt[1:2], original[1:2]), atol=1e-5)


def test_a_report_says_that_small_pictures_are_enlarged():
    assert METRICS["dists"].note(3, 32, 32) == "DISTS sees the 32x32 images upsampled to 64x64 (bilinear)"
    assert METRICS["dists"].note(3, 224, 224) == ""
