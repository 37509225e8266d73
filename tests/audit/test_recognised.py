"""A recogniser on the command line: what it says is in the run and on the page, and bad ones are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from audit.planted.systems import RECOGNISED
from audit.selfcheck import SMALL, judge_system
from reports.recognition import LIKENESS, PICKED, PLACE, SEEN, evidence
from reports.run import Run


@pytest.fixture(scope="module")
def words(victim, pictures) -> list[object]:
    return ["attack", "--victim", victim, "--data", pictures, "--images", 24, "--auxiliary", 40, "--policy", "none",
            "--codec", "uncoded", "--attack", "ridge", "--attack", "identify", "--quick"]  # fmt: skip


def test_what_it_says_is_in_the_run_and_on_the_page(atm, words, tmp_path):
    out = tmp_path / "run"
    code, _, err = atm(*words, "--recogniser", "vit_cifar10", "--out", out)
    assert code == 0, err
    run = Run.read(out)
    assert (
        run.about["recogniser"]["name"] == "vit_cifar10" and run.about["metrics"][LIKENESS] == "likeness (vit_cifar10)"
    )
    for metric in (LIKENESS, PLACE, PICKED, SEEN):
        assert run.repeated("none", "ridge", metric).shape == (1, 24)
    found = evidence(run, "none")
    assert found is not None and set(found.blind) == {"mean_image", "best_constant", "random_image"}
    page = (out / "report.html").read_text()
    assert "pieces in disorder are, which have its texture and show nothing." in page
    assert "By what pictures were recognised" in page and "Picked out by vit_cifar10" in page and "membership" in page
    again, _, err = atm(*words, "--recogniser", "vit_cifar10", "--out", out, "--resume")
    assert again == 0, err
    assert atm(*words, "--out", out, "--resume")[0] == 2, "with another judge it is another run"


@pytest.mark.parametrize(
    ("defence", "codec", "threat", "policy"),
    [
        ("drop:0.5", "uncoded", "server-shuffled", "none"),
        ("shuffle", "digital:10", "server", "moderate"),
        ("gaussian:0.5+pad:8", "uncoded", "server-no-map", "aggressive"),
        ("low-rank:16", "digital:10", "eavesdropper:awgn:0", "moderate"),
    ],
)
def test_it_looks_whatever_stands_between(atm, words, tmp_path, defence, codec, threat, policy):
    if codec.startswith("digital"):
        pytest.importorskip("sionna", reason="needs the extra 'sionna'")
    out, words = tmp_path / "run", [*words]
    words[words.index("--codec") + 1], words[words.index("--policy") + 1] = codec, policy
    more = ["--defense", defence, "--channel", "awgn:10", "--threat", threat, "--recogniser", "vit_cifar10"]
    code, _, err = atm(*words, *more, "--out", out)
    assert code == 0, err
    run = Run.read(out)
    found, picked = evidence(run, policy), run.repeated(policy, "ridge", PICKED)
    assert found is not None and found.by_recogniser.estimate >= float(picked.double().mean())
    assert bool(run.repeated(policy, "ridge", LIKENESS).isfinite().all())
    assert bool((run.repeated(policy, "ridge", PLACE) >= 0).all()) and set(picked.flatten().tolist()) <= {0.0, 1.0}


def test_a_run_without_one_says_by_what_it_judged(atm, words, tmp_path):
    assert atm(*words, "--out", tmp_path / "run")[0] == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "judged by SSIM alone" in page and "Picked out" not in page
    assert evidence(Run.read(tmp_path / "run"), "none") is None


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--recogniser", "vit_nowhere"], "vit_nowhere"),
        (["--recogniser-weights", "x.safetensors"], "say of which with --recogniser"),
        (
            ["--recogniser", "vit_tiny_patch16_224", "--recogniser-weights", "missing.safetensors"],
            "missing.safetensors",
        ),
    ],
)
def test_bad_ones_are_refused_in_one_line(atm, words, tmp_path, more, said):
    code, _, err = atm(*words, *more, "--out", tmp_path / "run")
    assert code == 2 and said in err and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_the_victim_itself_is_refused(atm, words, victim, tmp_path):
    code, _, err = atm(*words, "--recogniser", victim, "--out", tmp_path / "run")
    assert code == 2 and "is the victim" in err


@pytest.mark.slow
@pytest.mark.parametrize("system", RECOGNISED, ids=lambda system: system.name)
def test_planted_systems_are_judged_rightly(system):
    judged = judge_system(system, SMALL, 1)
    assert judged.right, judged.why


def test_mirror_images_are_a_leak_that_only_a_recogniser_sees():
    mirrored = RECOGNISED[0]
    assert judge_system(mirrored, SMALL, 0).verdict == "leaks"
    assert judge_system(replace(mirrored, recogniser=None), SMALL, 0).verdict != "leaks"
