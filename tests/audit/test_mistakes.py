"""Mistakes that have made published evaluations worthless; each would be caught here."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from types import FunctionType, MethodType, ModuleType
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from atm.channels import Awgn
from atm.errors import AtmError
from atm.link import Link
from atm.policy import MergePolicy
from atm.threat import Observation, ThreatModel
from attacks.mean_image import MeanImage
from attacks.ridge import Ridge
from audit.configs import AttackConfig
from audit.evaluate import evaluate
from audit.folder import RunFolder
from audit.planted.systems import POLICY, SYSTEMS
from audit.selfcheck import _setting
from privacy_metrics import psnr
from reports.run import Run
from reports.verdict import judge
from tests.atm.models import tiny_encoder
from tests.attacks.planted import pictures

IDENTITY = SYSTEMS[0]


def ask(images=12, attacks=("ridge",), **changes):
    config = AttackConfig(policies=(POLICY.name,), attacks=attacks, images=images, auxiliary=60, seed=3, budget=None)
    return config, replace(_setting(IDENTITY, config, IDENTITY.pictures(images, 60, 3)), **changes)


def run(config, setting, folder):
    with RunFolder(folder, config.plain()) as store:
        evaluate(setting, store, config, lambda line: None)
    return Run.read(folder)


@pytest.mark.parametrize("part", ["auxiliary", "validation"])
def test_training_or_choosing_on_the_victims_is_refused(tmp_path, part):
    config, setting = ask()
    data = setting.data
    spoilt = replace(data, **{part: data.victims.subset([5, 6])})
    with pytest.raises(AtmError, match=r"2 of the 12 attacked pictures"):
        run(config, replace(setting, data=spoilt), tmp_path / "run")
    assert not (tmp_path / "run/scores.csv").exists()


def tensors(thing: object, seen: set[int]) -> list[Tensor]:
    """Every tensor that can be reached from an object through its fields, and what its functions remember."""
    if id(thing) in seen or isinstance(thing, str | bytes | int | float | type | ModuleType | None):
        return []
    seen.add(id(thing))
    if isinstance(thing, Tensor):
        return [thing]
    if isinstance(thing, dict):
        inner = [*thing.keys(), *thing.values()]
    elif isinstance(thing, list | tuple | set):
        inner = list(thing)
    elif isinstance(thing, MethodType):
        inner = [thing.__self__]
    elif isinstance(thing, FunctionType):
        inner = [cell.cell_contents for cell in thing.__closure__ or ()]
    else:
        inner = list(getattr(thing, "__dict__", {}).values())
        inner += [getattr(thing, f.name) for f in fields(thing)] if is_dataclass(thing) else []
    return [tensor for item in inner for tensor in tensors(item, seen)]


def test_no_attack_can_reach_the_originals_to_return_them_or_to_choose_by_them(tmp_path):
    """A cheat that looks for the victims' pixels in everything that it is given."""
    config, setting = ask()
    truth = setting.data.victims.images

    class Cheat(Ridge):
        found: ClassVar[list[Tensor]] = []

        def fit(self, oracle):
            super().fit(oracle)
            self.given = oracle

        def reconstruct(self, seen):
            assert isinstance(seen, Observation)
            assert {f.name for f in fields(seen)} == {"tokens", "symbols", "side", "snr_db"}
            for tensor in tensors((self.given, seen), set()):
                if tensor.ndim == 4 and tensor.shape[1:] == truth.shape[1:]:
                    self.found += [image for image in tensor if any(torch.equal(image, t) for t in truth)]
            return super().reconstruct(seen)

    run(config, replace(setting, create=lambda name: Cheat() if name == "ridge" else MeanImage()), tmp_path)
    assert Cheat.found == []
    holder = {"a": [lambda: truth]}
    assert len(tensors(holder, set())) == 1, "the search itself must be able to find them"


@pytest.mark.parametrize("threat", [ThreatModel("server"), ThreatModel("eve", "eavesdropper", channel="awgn:3")])
def test_noise_is_on_the_tokens_and_as_strong_as_announced(threat):
    link = Link(tiny_encoder(), MergePolicy.uniform(1.0, 3), channel=Awgn(3.0))
    sent = link.transmit(pictures(20), 1)
    seen = threat.observe(sent, link, 2)
    noise = seen.symbols - sent.on_air
    measured = 10 * torch.log10(sent.on_air.abs().square().mean() / noise.abs().square().mean())
    assert float(measured) == pytest.approx(3.0, abs=0.2)
    error = (seen.tokens.values - sent.sent.values).square().mean() / sent.sent.values.square().mean()
    assert float(10 * error.log10()) == pytest.approx(-3.0, abs=0.5)


def test_psnr_is_for_pictures_between_0_and_1(tmp_path):
    """With a peak of 255 every score would be 48 dB too high."""
    half = torch.full((1, 3, 8, 8), 0.5)
    assert float(psnr(half + 0.1, half)) == pytest.approx(20.0, abs=1e-3)
    config, setting = ask()
    found = run(config, setting, tmp_path).values(POLICY.name, "mean_image", "psnr")
    own = torch.cat([setting.data.auxiliary.images, setting.data.validation.images]).mean(0)
    error = (setting.data.victims.images - own).square().mean((1, 2, 3))
    torch.testing.assert_close(found.float(), -10 * error.log10(), atol=1e-3, rtol=0)


def test_ten_images_are_no_headline(tmp_path):
    verdict = judge(run(*ask(images=10), tmp_path), POLICY.name)
    assert "too few images" in [flag.name for flag in verdict.flags]
    assert verdict.level == "leaks" and "10 pictures are too few to quote" in verdict.sentence
    assert verdict.recognisable.high - verdict.recognisable.low > 0.2, "and the interval says how little it is"


def test_every_attack_is_fitted_anew_for_every_policy_and_repeat(tmp_path):
    policies = [POLICY, MergePolicy.uniform(1.0, 2, exit_layer=1, name="first")]
    fitted = []

    class Spy(Ridge):
        def fit(self, oracle):
            fitted.append((oracle.policy().name, float(oracle.observe().symbols.real.sum())))
            super().fit(oracle)

    config, setting = ask(create=lambda name: Spy() if name == "ridge" else MeanImage())
    noisy = {p.device_layers: Link(setting.encoder, p, channel=Awgn(0.0)) for p in policies}
    about = {**setting.about, "policies": [p.as_dict() for p in policies], "attacks": ["mean_image", "ridge"]}
    setting = replace(setting, links=noisy, policies=policies, attacks=["mean_image", "ridge"], about=about)
    run(config.but(repeats=2), setting, tmp_path)
    assert [name for name, _ in fitted] == [POLICY.name, POLICY.name, "first", "first"]
    assert fitted[0][1] != fitted[1][1], "a repeat must draw the channel anew for the adversary's own pictures too"
