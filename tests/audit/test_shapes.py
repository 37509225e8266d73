"""Pictures that are grey, or no squares: every attack, inference, metric and command takes them as it takes others."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision.models import alexnet

import attacks
import defenses
from atm.channels import Awgn
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import ThreatModel
from atm.victims import load_victim
from atm.weight_files import write_weights
from attacks import BASELINES
from attacks.base import Method
from attacks.ridge import Ridge
from attacks.session import Session
from audit import AttackConfig, SearchConfig, attack, report, search
from audit.bounds import bounds
from audit.compare import CompareConfig, compare
from audit.sweep import SweepConfig, sweep
from privacy_metrics.registry import metrics_of, score
from reports.bounds import BOUNDS
from reports.run import Run
from reports.verdict import verdicts
from tests.atm.models import tiny_vit
from tests.systems import CHAINS, DEFENCES

EVERY_SHAPE = pytest.mark.parametrize(
    "shape",
    [
        pytest.param((3, 48, 32), id="tall"),
        pytest.param((1, 32, 48), id="wide grey"),
        pytest.param((1, 32, 32), id="grey"),
        pytest.param((3, 224, 160), id="real size", marks=pytest.mark.slow),
    ],
)
# Attacks that make up for knowledge which the server has are of use to others.
THREATS = {"server": ("all",), "black-box": ("shadow", "identify"), "server-no-map": ("alternating",)}
POLICY, IMAGES = "uniform-0.6", 12


def subclasses(kind: type) -> list[type]:
    return [each for own in kind.__subclasses__() for each in (own, *subclasses(own))]


@pytest.fixture(scope="module", autouse=True)
def hurried():
    """Every loop takes a few steps: what is asked here is whether it ends."""
    known = attacks.available() | attacks.inferences()
    with pytest.MonkeyPatch.context() as patch:
        for method in {*known.values(), *subclasses(Method)}:
            quick = dict(method.QUICK)
            if "schedule" in quick:
                quick["schedule"] = replace(quick["schedule"], steps=4, every=2)
            if "steps" in quick:
                quick["steps"] = 2
            patch.setattr(method, "QUICK", quick)
        yield


@pytest.fixture(scope="module", autouse=True)
def perceptual(tmp_path_factory):
    """Weights for LPIPS, random ones, so that it is measured too."""
    home = tmp_path_factory.mktemp("torch_home")
    checkpoint = home / "hub/checkpoints/alexnet-owt-7be5be79.pth"
    checkpoint.parent.mkdir(parents=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save({f"features.{k}": v for k, v in alexnet().features.state_dict().items()}, checkpoint)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCH_HOME", str(home))
        yield


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Colour pictures of several shapes, which the commands bring into the victim's."""
    root, generator = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir()
        for number in range(60):
            coarse = Image.fromarray(generator.integers(0, 256, (6, 6, 3), dtype=np.uint8))
            size = (48, 40 + 8 * (number % 3))
            coarse.resize(size, Image.Resampling.BICUBIC).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def victim(tmp_path_factory) -> Callable[..., Path]:
    """The file of a tiny victim that takes pictures ``(C, H, W)``."""
    root = tmp_path_factory.mktemp("victims")

    def saved(shape: tuple[int, int, int]) -> Path:
        channels, *size = shape
        patch = 8 if max(size) < 224 else 16
        path = root / f"{channels}x{size[0]}x{size[1]}.safetensors"
        options = {"img_size": size, "patch_size": patch, "in_chans": channels, "num_classes": 2,
                   "embed_dim": 24, "depth": 3, "num_heads": 3}  # fmt: skip
        about = {"kind": "victim", "architecture": options, "mean": [0.5], "std": [0.5], "classes": ["cat", "dog"]}
        write_weights(path, tiny_vit(**options), about)
        return path

    return saved


@pytest.fixture(scope="module")
def runs(victim, pictures, tmp_path_factory) -> Callable[..., dict[str, Run]]:
    """What each adversary made of a victim of some shape."""
    root, made = tmp_path_factory.mktemp("runs"), {}

    def run(shape: tuple[int, int, int]) -> dict[str, Run]:
        if shape not in made:
            made[shape] = {
                threat: attack(
                    AttackConfig(
                        policies=(POLICY,), attacks=names, victim=str(victim(shape)), codec="uncoded",
                        data=str(pictures), images=IMAGES, auxiliary=60, quick=True, threat=threat, budget=None,
                    ),
                    root / f"{shape}-{threat}",
                )
                for threat, names in THREATS.items()
            }  # fmt: skip
        return made[shape]

    return run


@EVERY_SHAPE
def test_every_attack_and_inference_is_run_and_scored_by_every_metric(runs, shape):
    known, done = attacks.available() | attacks.inferences(), set()
    picture = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
    metrics, missing = score(picture, picture, metrics_of("image"))
    assert set(missing) <= {"lpips", "dists"}  # whose weights may not be here
    everything = {name for name, attack in known.items() if attack.serves("image")}
    for run in runs(shape).values():
        assert run.finished and set(run.about["metrics"]) == set(metrics)
        assert bool(np.isfinite(run.scores.value).all())
        for name in run.attacks:
            for metric in metrics:
                assert len(run.values(POLICY, name, metric)) == IMAGES, (name, metric)
        done |= set(run.scores.attack)
    assert done == everything and set(BASELINES["image"].blind) <= done


@EVERY_SHAPE
def test_the_run_folder_keeps_pictures_as_the_victim_takes_them(runs, shape):
    channels, height, width = shape
    for run in runs(shape).values():
        for name in ("original", *(f"{POLICY}/{each}" for each in run.attacks)):
            files = sorted((run.folder / "images" / name).iterdir())
            assert len(files) == IMAGES
            with Image.open(files[0]) as image:
                assert (image.mode, image.size) == ("RGB" if channels == 3 else "L", (width, height))


@EVERY_SHAPE
def test_there_is_a_verdict_and_a_report_with_pictures(runs, shape):
    run = runs(shape)["server"]
    (verdict,) = verdicts(run)
    assert np.isfinite(verdict.leakage.estimate) and verdict.level
    assert 0 <= run.about["canary"]["ssim"] <= 1
    (run.folder / "report.html").unlink()
    page = report(run.folder).read_text()
    assert page.count("data:image/png;base64,") > 8 and ">nan<" not in page.lower()
    assert any("equal channels" in note for note in run.about["notes"]) == (shape[0] == 1)


@EVERY_SHAPE
def test_compare_sweep_and_search(victim, pictures, tmp_path, shape):
    shared = {"victim": str(victim(shape)), "data": str(pictures), "images": 10, "auxiliary": 40}
    compared = compare(
        CompareConfig(policies=("uniform-0.5",), defenses=("shuffle",), codec="uncoded", attacks=("ridge",), **shared),
        tmp_path / "compare",
    )
    table = compared.table()
    assert {"none", "uniform-0.5", "shuffle"} <= set(table["name"]) and table.leakage.notna().all()
    page = sweep(SweepConfig(snr=(0.0, 20.0), policies=("uniform-0.5",), codecs=("uncoded",), **shared), tmp_path / "w")
    points = pd.read_csv(page.parent / "points.csv")
    assert set(points.snr) == {0.0, 20.0} and points.estimate.notna().all() and page.exists()
    searched = SearchConfig(evals=3, codec="uncoded", lowest=0.0, **shared)
    search(searched, tmp_path / "search")
    trials = [json.loads(line) for line in (tmp_path / "search/trials.jsonl").read_text().splitlines()]
    assert len(trials) == 3 and all(np.isfinite(trial["values"]["leakage"]) for trial in trials)
    assert (tmp_path / "search/report.html").exists()


@EVERY_SHAPE
def test_every_bound_is_above_nothing(victim, shape):
    encoder = load_victim(str(victim(shape))).encoder
    link = Link(encoder, MergePolicy.uniform(1.0, encoder.depth), channel=Awgn(10.0))
    found = bounds(link, ThreatModel("server"), *torch.rand(450, *shape).split([50, 400]))
    assert len(found) == len(BOUNDS) and bool((found.value > 0).all()), found.note.tolist()


@EVERY_SHAPE
def test_codecs_and_heads_are_trained(atm, victim, pictures, tmp_path, shape):
    made = tmp_path / "codec.safetensors", tmp_path / "head.safetensors"
    words = ("--victim", victim(shape), "--data", pictures)
    code, _, err = atm("train", "codec", *words, "--steps", 2, "--symbols", 5, "--out", made[0])
    assert code == 0, err
    code, _, err = atm("train", "head", *words, "--out", made[1])
    assert code == 0, err
    few = ("--images", 4, "--auxiliary", 40, "--attack", "ridge", "--policy", POLICY)
    for given in (("--codec", made[0]), ("--head", made[1])):
        out = tmp_path / given[0]
        code, _, err = atm("attack", *words, *given, *few, "--out", out)
        assert code == 0, err
        assert Run.read(out).about["source_values"] == np.prod(shape)


@pytest.mark.parametrize("recipe, words, shape", [("photos", ("--size", "48x32"), (3, 48, 32)),
                                                  ("cifar10", ("--size", "32x48", "--grey"), (1, 32, 48))])  # fmt: skip
def test_victims_are_trained(atm, pictures, tmp_path, recipe, words, shape):
    path = tmp_path / "victim.safetensors"
    data = ("--data", pictures, "--test-data", pictures)
    code, _, err = atm("train", "victim", *data, "--recipe", recipe, "--epochs", 1, *words, "--out", path)
    assert code == 0, err
    assert " ".join(words) in path.with_suffix(".md").read_text()
    encoder = load_victim(str(path)).encoder
    assert encoder.input_shape == shape and encoder.mean.shape == (1, shape[0], 1, 1)
    patches = encoder(torch.rand(1, *shape), MergePolicy.uniform(1.0, encoder.depth)).tokens.lengths[0] - 1
    assert patches == encoder.patch_grid[0] * encoder.patch_grid[1]


@EVERY_SHAPE
@pytest.mark.parametrize("defence", [*DEFENCES, *CHAINS])
def test_every_defence(victim, shape, defence):
    encoder = load_victim(str(victim(shape))).encoder
    link = Link(encoder, MergePolicy.uniform(0.6, encoder.depth), channel=Awgn(10.0))
    own, attacked = torch.rand(30, *shape), torch.rand(4, *shape)
    link = defenses.fitted(defenses.create(defence), link, own)
    session = Session(link, ThreatModel("server").without_knowledge(link.denies), own)
    transmission, seen, _ = session.victims(attacked)
    assert bool(transmission.logits.isfinite().all())
    rebuilt = session.fitted(Ridge).reconstruct(seen)
    assert rebuilt.shape == attacked.shape and bool(rebuilt.isfinite().all())
