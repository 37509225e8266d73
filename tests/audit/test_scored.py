"""What is scored: answers against the truth, and reconstructions that are pictures, of pictures she does not have."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from atm.data import ImageSet, Splits
from atm.errors import AtmError
from atm.link import Link
from atm.policy import MergePolicy
from atm.signals import ImageSignal
from atm.victims import Answers
from attacks import Attack
from audit.canary import canary
from audit.evaluate import _link_rows, _refuse_overlap, evaluate
from audit.folder import RunFolder
from audit.setting import AttackConfig, Setting, prepare
from tests.atm.models import tiny_encoder

SIGNAL = ImageSignal((3, 4, 4), (2, 2))
ORIGINALS = torch.full((2, 3, 4, 4), 0.5)


def test_pictures_from_black_to_white_are_scored():
    assert SIGNAL.fault(torch.zeros(2, 3, 4, 4), 2) is None
    assert SIGNAL.fault(torch.ones(2, 3, 4, 4), 2) is None


@pytest.mark.parametrize("pixel", [math.nan, math.inf, -math.inf, -1e-6, 1 + 1e-6])
def test_one_pixel_that_cannot_be_is_refused(pixel):
    rebuilt = ORIGINALS.clone()
    rebuilt[1, 2, 3, 0] = pixel
    assert "pixels" in str(SIGNAL.fault(rebuilt, 2))


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (3, 3, 4, 4), (2, 1, 4, 4), (2, 3, 4, 5), (2, 48)])
def test_other_shapes_are_refused(shape):
    assert "expected [2, 3, 4, 4]" in str(SIGNAL.fault(torch.zeros(shape), 2))


def shaded(*shades: int) -> ImageSet:
    pixels = torch.tensor(shades, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 4)
    return ImageSet("x", pixels.contiguous(), torch.zeros(len(shades), dtype=torch.long), ("a",))


def test_a_victim_that_is_known_anywhere_is_refused_and_counted():
    apart = Splits(victims=shaded(1, 2, 3), auxiliary=shaded(4, 5), validation=shaded(6), removed=0)
    _refuse_overlap(apart, "picture")
    for part in ("auxiliary", "validation"):
        with pytest.raises(AtmError, match="2 of the 3 attacked pictures"):
            _refuse_overlap(replace(apart, **{part: shaded(9, 3, 1)}), "picture")
    both = replace(apart, auxiliary=shaded(1, 4), validation=shaded(2, 1))
    with pytest.raises(AtmError, match="2 of the 3"):
        _refuse_overlap(both, "picture")


def test_answers_are_right_where_they_are_the_truth():
    policy = MergePolicy.uniform(0.5, 3)
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    link = Link(tiny_encoder(), policy)
    sent = link.transmit(images, 1)
    answers = sent.logits.argmax(-1)
    truth = answers.clone()
    truth[:2] = (truth[:2] + 1) % 5
    rows = _link_rows(link, sent, truth, Answers(truth, "accuracy").said(link, sent))
    assert rows.correct.tolist() == [0, 0, 1, 1, 1, 1] and rows.image.tolist() == list(range(6))
    assert rows.label.tolist() == truth.tolist() and rows.answer.tolist() == answers.tolist()
    assert rows.gflops.tolist() == pytest.approx([flops / 1e9 for flops in sent.flops.tolist()])
    assert rows.coding_gflops.tolist() == pytest.approx([flops / 1e9 for flops in sent.coding_flops.tolist()])
    assert rows.tokens.tolist() == list(sent.sent.counts) and rows.symbols.tolist() == sent.symbols.tolist()
    assert rows.header.tolist() == sent.header.tolist() and set(rows.policy) == {policy.name}
    unknown = _link_rows(link, sent, None, None)
    assert unknown[["label", "answer", "correct"]].isna().all(axis=None)


@pytest.fixture
def setting(victim, pictures):
    few = {"victim": str(victim), "data": str(pictures), "images": 4, "auxiliary": 24}
    return prepare(AttackConfig(policies=("none",), attacks=("ridge",), quick=True, **few))


def evaluated(setting: Setting, folder: Path) -> None:
    config = AttackConfig(**{**setting.about["config"], "quick": True})
    with RunFolder(folder, config.as_dict()) as run:
        evaluate(setting, run, config, lambda line: None)


def test_nothing_is_attacked_that_she_holds(setting, tmp_path):
    held = replace(setting, data=replace(setting.data, validation=setting.data.victims))
    with pytest.raises(AtmError, match="4 of the 4 attacked pictures"):
        evaluated(held, tmp_path / "run")
    assert not (tmp_path / "run/run.json").exists()


@pytest.mark.parametrize("pixel", [math.nan, 1.5])
def test_an_attack_that_returns_no_pictures_ends_the_run(setting, tmp_path, pixel):
    class Broken(Attack):
        """Finds what is no picture."""

        name = "ridge"

        def fit(self, oracle) -> None:
            """Nothing to do."""

        def reconstruct(self, seen):
            """Pictures with one value that cannot be."""
            rebuilt = torch.zeros(len(seen), 3, 32, 32)
            rebuilt[0, 0, 0, 0] = pixel
            return rebuilt

    with pytest.raises(AtmError, match="'mean_image' returned pixels"):
        evaluated(replace(setting, create=lambda name: Broken()), tmp_path / "run")


def test_a_broken_inference_ends_the_run_too(setting, tmp_path, monkeypatch):
    monkeypatch.setattr("audit.harm.run", lambda *_: 1 / 0)
    with pytest.raises(AtmError, match=r"attack '\w+' failed on policy 'none': ZeroDivisionError"):
        evaluated(replace(setting, inferences=("identify",)), tmp_path / "run")


def test_attacks_are_handed_what_she_has_and_the_run_keeps_what_was_attacked(setting, tmp_path):
    seen = {}

    class Witness(Attack):
        """Looks at what it is handed."""

        name = "ridge"

        def fit(self, oracle) -> None:
            """Remember it."""
            seen["oracle"] = oracle

        def reconstruct(self, seen):
            """Grey pictures."""
            return torch.full((len(seen), 3, 32, 32), 0.5)

    unsent = setting.data.auxiliary.rows
    evaluated(replace(setting, unsent=unsent, create=lambda name: Witness()), tmp_path / "run")
    oracle, data = seen["oracle"], setting.data
    assert torch.equal(oracle.labels, torch.cat([data.auxiliary.labels, data.validation.labels]))
    assert torch.equal(oracle.unsent[:], unsent[:]) and torch.equal(oracle.images[:], data.hers[:])
    about = json.loads((tmp_path / "run/run.json").read_text())
    assert about["canary"] == canary(setting.encoder, data, 0) and about["notes"]
    kept = sorted((tmp_path / "run/images/original").glob("*.png"))
    found = np.stack([np.asarray(Image.open(path)).transpose(2, 0, 1) for path in kept])
    assert np.array_equal(found, data.victims.pixels.numpy())


def test_a_run_that_goes_on_keeps_its_canary(setting, tmp_path, monkeypatch):
    evaluated(setting, tmp_path / "run")
    before = json.loads((tmp_path / "run/run.json").read_text())["canary"]
    monkeypatch.setattr("audit.evaluate.canary", lambda *_: pytest.fail("taken again"))
    config = AttackConfig(**{**setting.about["config"], "quick": True})
    with RunFolder(tmp_path / "run", config.as_dict(), resume=True) as run:
        evaluate(setting, run, config, lambda line: None)
    assert json.loads((tmp_path / "run/run.json").read_text())["canary"] == before
