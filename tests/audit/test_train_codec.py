"""`atm train codec` as a user meets it, and a run with what it wrote."""

from __future__ import annotations

import pytest

from reports.run import Run
from tests.audit.conftest import parse


@pytest.fixture
def codec(atm, victim, pictures, tmp_path):
    path = tmp_path / "codec.safetensors"
    words = ("--victim", victim, "--data", pictures, "--steps", 2, "--symbols", 5, "--symbols", 2, "--out", path)
    code, _, err = atm("train", "codec", *words)
    assert code == 0, err
    return path


def attack(victim, pictures, codec, out):
    few = ("--images", 4, "--auxiliary", 40, "--attack", "mean_image", "--policy", "none", "--policy", "uniform-0.5")
    return ("attack", "--victim", victim, "--data", pictures, "--codec", codec, "--out", out, *few, "--json")


@pytest.mark.parametrize("rate", [None, 2])
def test_a_run_reports_the_rate_and_the_bandwidth_ratio(atm, victim, pictures, codec, tmp_path, rate):
    name = f"{codec}:{rate}" if rate else codec
    code, out, err = atm(*attack(victim, pictures, name, tmp_path / "run"))
    assert code == 0, err
    run = Run.read(tmp_path / "run")
    (about,) = run.about["codec"].values()
    assert about["name"] == "jscc" and about["symbols_per_token"] == (rate or 5) and run.about["source_values"] == 3072
    unmerged, merged = parse(out)["policies"]
    header = 8  # a number of tokens from 0 to 17 is 5 bits, at 2/3 of a bit a symbol
    assert set(run.link.header) == {header}
    # 16 patches and a class token
    assert unmerged["bandwidth_ratio"] == pytest.approx((17 * (rate or 5) + header) / 3072)
    assert merged["bandwidth_ratio"] == pytest.approx((merged["tokens"] * (rate or 5) + header) / 3072)
    assert f"{unmerged['bandwidth_ratio']:.3f} per source value" in (tmp_path / "run/report.html").read_text()


def test_a_codec_comes_with_a_card_and_is_not_replaced(atm, victim, pictures, codec):
    card = codec.with_suffix(".md").read_text()
    assert "--symbols 5 --symbols 2" in card and str(pictures.parent) not in card
    code, _, err = atm("train", "codec", "--victim", victim, "--data", pictures, "--out", codec)
    assert code == 2 and "--force" in err


def test_rates_must_be_rates(atm, victim, pictures, tmp_path):
    for wrong in ((0,), (4, 4), (-1, 3)):
        words = [w for rate in wrong for w in ("--symbols", rate)]
        out = tmp_path / "codec.safetensors"
        code, _, err = atm("train", "codec", "--victim", victim, "--data", pictures, *words, "--out", out)
        assert code == 2 and "whole numbers from 1" in err and not out.exists()
