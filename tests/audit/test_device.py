"""A run on another device: nothing is mixed, nothing but the place is different."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
import torch

import attacks
import audit
from atm.channels import Awgn
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import ThreatModel
from attacks.alignment import Alignment
from attacks.generator import Generator
from attacks.objective import Likelihood
from attacks.session import Session
from audit.setting import AttackConfig
from reports.run import Run
from tests.atm.models import tiny_encoder
from tests.attacks.planted import pictures as planted
from tests.pretend_device import NAME, pretend_device

CLOSE = 2e-3  # in SSIM and in fractions: what rounding in another order of operations may change after some training
# Descents whiten by directions in which a decoder hardly errs and take one of two weights: both make much of rounding.
LOOSE = {"optimization": 0.1, "deep_prior": 0.1, "generative": 0.1}


@pytest.fixture
def few(monkeypatch):
    """Few steps, for Adam makes much of rounding; and float32 everywhere, as bfloat16 would be another computation."""
    monkeypatch.setattr("atm.precision.multiplies_bfloat16", lambda device: False)
    for kind in {Alignment, Generator, *attacks.available().values(), *attacks.inferences().values()}:
        fewer = {"steps": 2} if "steps" in kind.QUICK else {}
        if "schedule" in kind.QUICK:
            fewer = {"schedule": replace(kind.QUICK["schedule"], steps=10, every=5)}
        monkeypatch.setattr(kind, "QUICK", {**kind.QUICK, **fewer})


def scores(run: Run) -> pd.DataFrame:
    keys = ["policy", "attack", "image", "metric", "repeat"]
    return run.scores.set_index(keys).sort_index()


def config(victim, pictures, **fields) -> AttackConfig:
    asked = {"victim": str(victim), "data": str(pictures), "images": 4, "auxiliary": 40, "budget": None, "quick": True}
    return AttackConfig(**{**asked, **fields})


def compared(here: Run, there: Run) -> None:
    assert here.about["device"] == "cpu" and there.about["device"].startswith(NAME)
    assert there.attacks == here.attacks
    gap = (scores(there) - scores(here))["value"].abs().drop("psnr", level="metric").groupby("attack").max()
    assert all(value < LOOSE.get(attack, CLOSE) for attack, value in gap.items()), gap


def test_every_attack_runs_on_a_device_and_finds_what_it_finds_on_the_cpu(atm, few, victim, pictures, tmp_path):
    asked = config(victim, pictures, policies=("uniform-0.9",), attacks=("all",))
    here = audit.attack(replace(asked, device="cpu"), tmp_path / "here")
    with pretend_device():
        there = audit.attack(replace(asked, device=NAME), tmp_path / "there")
    assert len(here.attacks) > 10
    compared(here, there)


def test_what_descents_minimise_is_the_same_on_a_device_and_so_is_its_gradient(few):
    def judged(device):
        torch.manual_seed(0)
        encoder, victims = tiny_encoder().to(device), planted(4, 9)
        link = Link(encoder, MergePolicy.uniform(0.9, encoder.depth), channel=Awgn(10.0))
        session = Session(link, ThreatModel("server"), planted(60))
        likelihood = Likelihood(session.oracle())
        images = planted(4, 3).to(device).requires_grad_()
        losses = likelihood(images, likelihood.target(session.victims(victims)[1]))
        losses.sum().backward()
        return losses.detach().cpu(), images.grad.cpu()

    here = judged("cpu")
    with pretend_device() as device:
        there = judged(device)
    for expected, found in zip(here, there, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "words", [("--defense", "shuffle"), ("--defense", "drop:0.5", "--threat", "eavesdropper:awgn:0")]
)
def test_defences_and_eavesdroppers_on_a_device(atm, few, victim, pictures, tmp_path, words):
    few_words = ("--victim", victim, "--data", pictures, "--images", 4, "--auxiliary", 60, "--policy", "uniform-0.9")
    words = (*few_words, "--attack", "ridge", "--attack", "identify", "--attack", "position", "--quick", *words)
    code, _, err = atm("attack", *words, "--out", tmp_path / "here", "--device", "cpu")
    with pretend_device():
        there = atm("attack", *words, "--out", tmp_path / "there", "--device", NAME)
    assert (there[0], there[2]) == (code, err)
    if code == 0:
        compared(Run.read(tmp_path / "here"), Run.read(tmp_path / "there"))


def test_a_run_goes_on_where_it_is_continued(atm, few, victim, pictures, tmp_path, monkeypatch):
    """Another device changes numbers by rounding, as another version of a library may: it is written down."""
    asked = config(victim, pictures, policies=("none",), attacks=("ridge",))
    with pretend_device():
        audit.attack(replace(asked, device=NAME), tmp_path / "run")
    done = audit.attack(replace(asked, device="cpu"), tmp_path / "run", resume=True)
    assert done.about["device"].startswith(NAME), "where it began"


@pytest.mark.parametrize(
    "words",
    [
        ("compare", "--policy", "uniform-0.5", "--attack", "ridge", "--defense", "quantize:4"),
        ("sweep", "--policy", "uniform-0.5", "--snr", "10", "--codec", "uncoded"),
        ("search", "--evals", 3, "--no-rescore", "--images", 8),
    ],
    ids=lambda words: words[0],
)
def test_the_other_commands_run_on_a_device(atm, few, victim, pictures, tmp_path, words):
    shared = ("--victim", victim, "--data", pictures, "--images", 4, "--auxiliary", 40, "--out", tmp_path / "run")
    with pretend_device():
        code, _, err = atm(words[0], *shared, *words[1:], "--device", NAME)
    assert code == 0, err


def test_heads_and_codecs_are_trained_on_a_device(atm, few, victim, pictures, tmp_path):
    shared = ("--victim", victim, "--data", pictures, "--device", NAME)
    with pretend_device():
        assert atm("train", "head", *shared, "--out", tmp_path / "head.safetensors")[0] == 0
        words = ("--steps", 3, "--symbols", 4, "--out", tmp_path / "codec.safetensors")
        assert atm("train", "codec", *shared, *words)[0] == 0
    few_words = ("--images", 4, "--auxiliary", 40, "--policy", "none", "--attack", "ridge", "--device", "cpu")
    words = ("--codec", tmp_path / "codec.safetensors", "--out", tmp_path / "run")
    code, _, err = atm("attack", "--victim", victim, "--data", pictures, *few_words, *words)
    assert code == 0, err


@pytest.mark.parametrize(
    "command", ["attack", "compare", "sweep", "search", "train victim", "train head", "train codec"]
)
def test_a_device_that_is_not_there_is_one_line(atm, victim, pictures, tmp_path, monkeypatch, command):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    out = tmp_path / "x.safetensors"
    code, _, err = atm(*command.split(), "--data", pictures, "--device", "cuda:3", "--out", out)
    assert code == 2 and "device 'cuda:3' is not there" in err and len(err.strip().splitlines()) == 1
    assert not out.exists()
