"""The list of metrics, and the package as a whole."""

import ast
import doctest
import importlib
from pathlib import Path
from urllib.error import URLError

import pytest
import torch

import privacy_metrics
from privacy_metrics import METRICS, Metric, MetricUnavailable, score
from privacy_metrics.registry import metrics_of
from tests.privacy_metrics.images import noisy, photos

PACKAGE = Path(privacy_metrics.__file__).parent
MODULES = sorted(file.stem for file in PACKAGE.glob("*.py") if file.stem != "__init__")


def test_every_metric_is_named_as_it_is_listed():
    assert metrics_of("image") == ["ssim", "psnr", "lpips", "dists"]
    assert metrics_of("text") == ["rouge_l", "in_place", "exact"]
    assert metrics_of("log-mel") == ["spectrogram_ssim", "psnr", "mcd", "stoi"]
    assert metrics_of("fbank") == ["spectrogram_ssim", "psnr", "mcd"]
    assert all(metric.name == name for name, metric in METRICS.items())
    assert [name for name, metric in METRICS.items() if not metric.higher_is_leakier] == ["lpips", "dists", "mcd"]


def test_score_gives_what_the_metrics_give():
    reconstruction, original = noisy(photos()), photos()
    scores, missing = score(reconstruction, original, ["psnr", "ssim"])
    assert list(scores) == ["psnr", "ssim"] and missing == {}
    for name, values in scores.items():
        assert torch.equal(values, METRICS[name].compute(reconstruction, original))


def test_a_metric_that_is_unavailable_is_left_out_with_its_reason(monkeypatch):
    def unavailable(*_):
        raise MetricUnavailable("its oracle is asleep")

    monkeypatch.setitem(METRICS, "oracle", Metric("oracle", "Oracle", "", True, unavailable))
    scores, missing = score(photos(), photos(), ["oracle", "ssim"])
    assert list(scores) == ["ssim"] and missing == {"oracle": "its oracle is asleep"}


def test_an_added_metric_is_scored_with_the_others(monkeypatch):
    mae = Metric("mae", "MAE", "", False, lambda ours, theirs: (ours - theirs).abs().mean((1, 2, 3)))
    monkeypatch.setitem(METRICS, "mae", mae)
    assert score(photos(), photos(), ["mae"])[0]["mae"].tolist() == [0.0] * 4
    assert mae.note(3, 32, 32) == ""


def test_an_unknown_metric_is_refused_by_name():
    with pytest.raises(ValueError, match=r"'fid'.*ssim, psnr, lpips"):
        score(photos(), photos(), ["ssim", "fid"])


def test_errors_in_the_images_are_not_taken_for_missing_metrics():
    with pytest.raises(ValueError, match="shape"):
        score(photos(2), photos(3), ["ssim"])


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_in_the_docstrings_run(module, monkeypatch, tmp_path):
    def offline(*_):
        raise URLError("no network in tests")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", offline)
    assert (
        doctest.testmod(importlib.import_module(f"privacy_metrics.{module}"), extraglobs={"torch": torch}).failed == 0
    )


@pytest.mark.parametrize("file", PACKAGE.glob("*.py"), ids=lambda file: file.name)
def test_the_lowest_floor_imports_nothing_of_the_project(file):
    above = {"atm", "attacks", "audit", "defenses", "reports", "tests", "benchmarks"}
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert above.isdisjoint(name.split(".")[0] for name in names)
