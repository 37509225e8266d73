"""The headline is the gravest finding, and a flag takes back harmlessness and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from reports.verdict import judge, verdicts
from tests.reports.scores import NAME, run_of, together

N = 120
FLOOR = np.linspace(0.10, 0.30, N)
EVE = {"name": "eve", "tap": "eavesdropper", "knows": ["weights", "auxiliary"], "channel": None}
CHANCE = {"label_correct": 0.5, "rank_1": 0.01, "rank_5": 0.05}
UNFINISHED = {"attacks": ["mean_image", "ridge", "decoder"]}


def attacked(hits: int, value: float = 0.6, n: int = N, others=None, **about):
    """So many pictures are rebuilt to an SSIM of ``value``, the others hardly better than without the tokens."""
    best = np.where(np.arange(n) < hits, value, FLOOR[:n] + 0.05)
    scores = {"mean_image": {"ssim": FLOOR[:n]}, "ridge": {"ssim": best}, **(others or {})}
    return run_of(scores, **{"threat": EVE, "chance": CHANCE, **about})


def some(hits: int, n: int = N) -> list[int]:
    return [int(i < hits) for i in range(n)]


@pytest.mark.parametrize(
    "hits, level", [(0, "no leak found"), (3, "inconclusive"), (30, "leaks in part"), (90, "leaks")]
)
def test_a_flag_takes_back_harmlessness_and_softens_no_leak(hits, level):
    sound, flagged = judge(attacked(hits), NAME), judge(attacked(hits, **UNFINISHED), NAME)
    assert sound.level == sound.pixels.level == level and not sound.flags
    assert flagged.level == ("inconclusive" if level == "no leak found" else level)
    assert [flag.name for flag in flagged.flags] == ["unfinished"]
    assert sound.recognisable.estimate == pytest.approx(hits / N) and sound.pixels.about == "pixels"
    assert sound.pixels.chance is None and sound.recognisable.n == N


LABELS = {level: {"reader": {"label_correct": some(hits)}} for level, hits in
          (("no leak found", 60), ("inconclusive", 68), ("leaks in part", 80), ("leaks", 115))}  # fmt: skip
ORDER = ("no leak found", "inconclusive", "leaks in part", "leaks")


@pytest.mark.parametrize("hits", [0, 3, 30, 90])
@pytest.mark.parametrize("label", list(LABELS))
def test_the_headline_is_the_gravest_finding_and_says_only_what_is_of_that_level(hits, label):
    verdict = judge(attacked(hits, others=LABELS[label]), NAME)
    pixels, labels = verdict.findings
    assert labels.level == label
    assert verdict.level == max(pixels.level, label, key=ORDER.index)
    said = [finding.sentence for finding in (pixels, labels) if finding.level == verdict.level]
    assert verdict.sentence == " ".join(said) and verdict.pixels is pixels


def test_what_is_hers_anyway_never_is_the_headline():
    verdict = judge(attacked(0, others=LABELS["no leak found"], threat={"name": "server"}), NAME)
    assert [f.level for f in verdict.findings] == ["no leak found", "hers anyway"] and verdict.level == "no leak found"


def test_beating_a_bound_is_graver_than_a_leak():
    """In an evaluation that is broken no other word can be trusted."""
    psnr = {"psnr": np.linspace(20, 21, N)}
    verdict = judge(attacked(90, others={"other": {"ssim": FLOOR + 0.06, **psnr}}, proven={"Wiener": 0.1}), NAME)
    assert verdict.level == "beats the bound" and verdict.sentence.startswith("The system or its evaluation is broken")


def test_each_policy_gets_its_own_verdict_in_the_order_of_the_run():
    run = together(attacked(90, policy="b"), attacked(0, policy="a"))
    assert [(v.policy, v.level) for v in verdicts(run)] == [("b", "leaks"), ("a", "no leak found")]
    assert verdicts(run)[0].run is run


def test_other_runs_shed_light_on_the_verdict():
    weak, run = attacked(0, threat={**EVE, "name": "weak", "knows": ["auxiliary"]}), attacked(0)
    about = {**weak.about, "config": {"threat": "weak"}}
    more = run_of({"mean_image": {"ssim": FLOOR}, "ridge": {"ssim": FLOOR + 0.15}}, **about)
    assert judge(run, NAME, (weak,)).level == "no leak found"
    assert judge(run, NAME, (more,)).level == "inconclusive" == verdicts(run, (more,))[0].level
    assert judge(run, NAME, (more,)).flags[0].name == "a weaker adversary won"


# What is said.


def test_a_leak_is_said_with_its_interval_and_with_how_few_pictures_it_rests_on():
    said = judge(attacked(90), NAME).sentence
    assert said.startswith("Do not call this private: 90 of 120 pictures") and "too few to quote" not in said
    assert "too few to quote" not in judge(attacked(90, n=100), NAME).sentence
    assert "99 pictures are too few to quote" in judge(attacked(90, n=99), NAME).sentence
    assert "99 pictures are too few to quote" in judge(attacked(20, n=99), NAME).sentence


def test_near_copies_are_counted():
    said = judge(attacked(3, value=0.9), NAME).sentence
    assert said.startswith("Not private: 3 of 120") and "3 of them almost as they were" in said
    assert "almost as they were" not in judge(attacked(30), NAME).sentence
    ridge = np.stack([np.where(np.arange(N) == image, 0.9, FLOOR + 0.05) for image in (5, 6)])
    repeats = run_of({"mean_image": {"ssim": [FLOOR, FLOOR]}, "ridge": {"ssim": ridge}}, threat=EVE)
    assert "2 of them almost" in judge(repeats, NAME).sentence, "two pictures, each in one repeat"


def test_harmlessness_is_said_with_its_limits():
    said = judge(attacked(0, denied=["optimization", "guided"]), NAME).sentence
    assert said.startswith("These attacks found no leak: 0 of 120") and "no proof" in said
    assert "The adversary “eve” cannot run optimization, guided" in said
    assert "cannot run" not in judge(attacked(0), NAME).sentence


def test_the_gravest_flag_is_the_reason_why_nothing_can_be_concluded():
    verdict = judge(attacked(0, n=50, **UNFINISHED), NAME)
    assert [f.name for f in verdict.flags] == ["unfinished", "too few images"]
    assert verdict.sentence.startswith("Nothing can be concluded: 0 of 50") and "cannot run" not in verdict.sentence
    assert "50 more pictures would settle it" in verdict.sentence
    assert "unfinished: decoder; go on with --resume" in verdict.sentence and "only 50 pictures" not in verdict.sentence
    flagged = judge(attacked(0, denied=["whole"], **UNFINISHED), NAME).sentence
    assert "unfinished: decoder" in flagged and "more pictures would" not in flagged and "cannot run whole" in flagged


# Numbers beside it.


def test_leakage_its_tail_its_maximum_and_its_excess():
    random = np.random.default_rng(0)
    ridge, blind = random.uniform(0.2, 0.6, (1, N)), random.uniform(0.1, 0.3, (1, N))
    verdict = judge(run_of({"mean_image": {"ssim": blind}, "ridge": {"ssim": ridge}}), NAME)
    worst = np.maximum(ridge, blind)[0]
    ends = bootstrap((worst,), np.mean, n_resamples=2000, rng=np.random.default_rng(0)).confidence_interval
    assert verdict.leakage.estimate == pytest.approx(worst.mean())
    assert (verdict.leakage.low, verdict.leakage.high) == pytest.approx((ends.low, ends.high))
    assert verdict.tail.estimate == pytest.approx(np.percentile(worst, 95))
    assert verdict.highest.estimate == verdict.highest.high == worst.max()
    assert verdict.excess.estimate == pytest.approx((worst - blind[0]).mean()) and verdict.excess.low > 0


def test_repeats_that_differ_widen_the_interval_of_leakage():
    blind, ridge = np.stack([FLOOR] * 4), np.stack([FLOOR + 0.05 + 0.1 * r for r in range(4)])
    verdict = judge(run_of({"mean_image": {"ssim": blind}, "ridge": {"ssim": ridge}}), NAME)
    alone = judge(run_of({"mean_image": {"ssim": FLOOR}, "ridge": {"ssim": ridge.mean(0)}}), NAME)
    assert verdict.leakage.estimate == pytest.approx(alone.leakage.estimate)
    assert verdict.leakage.high - verdict.leakage.low > 4 * (alone.leakage.high - alone.leakage.low)
    assert verdict.excess.estimate == pytest.approx(0.2)
    assert verdict.highest.estimate == pytest.approx(ridge.max(1).mean())


def test_two_repeats_are_both_looked_at():
    ridge = np.stack([FLOOR + 0.05, FLOOR + 0.15])
    verdict = judge(run_of({"mean_image": {"ssim": [FLOOR, FLOOR]}, "ridge": {"ssim": ridge}}), NAME)
    assert verdict.leakage.estimate == pytest.approx(ridge.mean())
    assert verdict.leakage.low < ridge[0].mean() < ridge[1].mean() < verdict.leakage.high


def test_the_excess_is_beyond_blind_baselines_averaged_over_repeats():
    blind = np.stack([FLOOR, FLOOR + 0.1])
    verdict = judge(run_of({"mean_image": {"ssim": blind}, "ridge": {"ssim": blind + 0.2}}), NAME)
    assert verdict.excess.estimate == pytest.approx(0.2) and verdict.excess.low == pytest.approx(0.2)
