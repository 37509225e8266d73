"""Every flag is raised by a case made for it, by no sound case, and stands in docs/flags.md."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from atm.errors import AtmError
from atm.signals import SIGNALS
from atm.store import RunStore
from attacks import BASELINES
from reports.case import Case
from reports.flag import EITHER
from reports.flags import FLAGS, document, raised
from reports.html import render
from reports.judged import Judged
from reports.peers import check_against
from reports.run import Run
from reports.verdict import judge
from tests.reports.test_report import make_run

PAGE = Path(__file__).parents[2] / "docs/flags.md"
VALUES = torch.linspace(0.15, 0.35, 120).tolist()
FLOOR = [v - 0.05 for v in VALUES]
CONFIG = {"seed": 0, "policies": ["none"], "threat": "server", "channel": "awgn:10", "auxiliary": 1000}


def trained(attack="decoder", **changes):
    """A record of an attack that converged."""
    losses = [1 + 0.9**step for step in range(100)]
    sound = {"train": losses, "gradient": [1.0] * 100, "validation": [(0, 2.0), (50, 1.05), (100, 1.04)],
             "best_step": 100, "cut": False}  # fmt: skip
    return {"policy": "none", "attack": attack, "repeat": 0, **sound, **changes}


def case(folder, *, history=(), values=VALUES, config=(), against=(), scores=None, **about):
    folder.mkdir(parents=True, exist_ok=True)
    scores = scores or {"mean_image": FLOOR, "ridge": [v - 0.01 for v in values], "decoder": values}
    run = make_run(folder, scores, config={**CONFIG, **dict(config)}, history=history, **about)
    return Case(run, "none", tuple(against))


def names(case):
    return [flag.name for flag in raised(case)]


def test_a_sound_case_raises_none(tmp_path):
    sound = case(
        tmp_path, history=[trained()], canary={"attack": "ridge", "ssim": 0.99, "recognisable": 1, "images": 9}
    )
    assert names(sound) == [] and judge(sound.run, "none").level == "no leak found"


HISTORIES = {
    "zero or NaN gradients": [
        {"gradient": [0.0] * 20 + [1.0] * 80},
        {"gradient": [1.0] * 99 + [None]},
        {"gradient": [1.0, None] * 50},
    ],
    "did not converge": [
        {"train": [100.0 - step for step in range(100)], "validation": [], "best_step": None},
        {"train": [100.0 - step for step in range(100)], "validation": [(0, 99.0), (100, 1.0)], "best_step": 100},
    ],
    "best far from last": [{"validation": [(0, 2.0), (30, 1.0), (100, 1.2)], "best_step": 30, "train": [1.0] * 100}],
    "train/validation gap": [{"train": [1.0] * 100, "validation": [(0, 3.0), (100, 1.6)], "best_step": 100}],
    "time budget cut": [{"cut": True}],
}


@pytest.mark.parametrize("name, changes", [(n, c) for n, cases in HISTORIES.items() for c in cases])
def test_trouble_in_training_takes_harmlessness_back(tmp_path, name, changes):
    troubled = case(tmp_path, history=[trained(**changes)])
    assert names(troubled) == [name]
    read = Run.read(troubled.run.folder)
    assert read.history == troubled.run.history
    verdict = judge(read, "none")
    assert verdict.level == "inconclusive" and verdict.flags[0].name == name


def test_training_that_ended_early_because_nothing_improved_has_converged(tmp_path):
    falling = [100.0 - step for step in range(100)]
    early = trained(train=falling, validation=[(0, 5.0), (60, 4.0), (80, 4.1), (100, 4.1)], best_step=60)
    assert "did not converge" not in names(case(tmp_path, history=[early]))


@pytest.mark.parametrize("recognisable, expected", [(0.5, ["canary failed"]), (0.95, [])])
def test_the_canary(tmp_path, recognisable, expected):
    canary = {"attack": "ridge", "ssim": 0.6, "recognisable": recognisable, "images": 50}
    assert names(case(tmp_path, canary=canary)) == expected


def test_one_attack_below_a_blind_baseline_is_enough(tmp_path):
    scores = {"mean_image": FLOOR, "ridge": VALUES, "decoder": [v - 0.1 for v in VALUES]}
    assert names(case(tmp_path, scores=scores)) == ["below a blind baseline"]


def test_attacks_level_with_the_blind_baselines_are_believed_only_beside_the_canary(tmp_path):
    scores = {"mean_image": FLOOR, "ridge": FLOOR}
    canary = {"attack": "ridge", "ssim": 0.99, "recognisable": 1.0, "images": 50}
    assert names(case(tmp_path / "a", scores=scores)) == ["below a blind baseline"]
    assert names(case(tmp_path / "b", scores=scores, canary=canary)) == []
    other = {"mean_image": FLOOR, "decoder": FLOOR}
    assert names(case(tmp_path / "c", scores=other, canary=canary)) == ["below a blind baseline"]


def test_a_quick_run_and_one_of_few_attacks_are_first_looks(tmp_path):
    assert names(case(tmp_path / "a", config={"quick": True})) == ["a quick run"]
    assert names(case(tmp_path / "b", left_out=["whole"])) == ["part of the suite"]


def test_retrieval_alone_is_no_attack_that_rebuilds(tmp_path):
    assert names(case(tmp_path, scores={"mean_image": FLOOR, "nearest": VALUES})) == ["only blind baselines"]


def test_a_cheaper_attack_that_wins(tmp_path):
    scores = {"mean_image": FLOOR, "ridge": [v + 0.05 for v in VALUES], "decoder": VALUES}
    assert names(case(tmp_path, scores=scores, history=[trained()])) == ["a cheaper attack won"]


@pytest.mark.parametrize("shift, level", [(0.08, "inconclusive"), (0.0, "no leak found")])
def test_seeds_that_disagree(tmp_path, shift, level):
    config = {**CONFIG, "repeats": 2}
    table = make_run(tmp_path, {"mean_image": FLOOR, "ridge": VALUES}, config=config).scores
    with RunStore(tmp_path, "attack", config, resume=True) as store:
        store.append_rows("scores.csv", table.assign(repeat=1, value=table.value + shift))
    verdict = judge(Run.read(tmp_path), "none")
    assert verdict.level == level and ("seeds disagree" in [f.name for f in verdict.flags]) == bool(shift)


def test_an_unfinished_repeat_is_unfinished(tmp_path):
    assert names(case(tmp_path, config={"repeats": 2})) == ["unfinished"]


def other(folder, shift, **changes):
    return case(folder, values=[v + shift for v in VALUES], **changes).run


SERVER = {"name": "server", "tap": "server", "knows": ["weights", "auxiliary"], "channel": None}
EVE = {"name": "eve", "tap": "eavesdropper", "knows": ["auxiliary"], "channel": "awgn:0"}


@pytest.mark.parametrize("shift, raises", [(0.1, True), (0.0, False), (-0.1, False)])
def test_a_weaker_adversary_that_wins(tmp_path, shift, raises):
    eve = other(tmp_path / "eve", shift, config={"threat": "eve"}, threat=EVE)
    server = case(tmp_path / "server", threat=SERVER, against=[eve])
    assert ("a weaker adversary won" in names(server)) == raises
    weak = Case(eve, "none", (server.run,))
    assert "a weaker adversary won" not in names(weak), "a stronger one may well win"


@pytest.mark.parametrize(
    "channel, shift, raises", [("awgn:0", 0.1, True), ("awgn:20", 0.1, False), ("awgn:0", 0, False)]
)
def test_leakage_that_falls_as_snr_rises(tmp_path, channel, shift, raises):
    noisy = other(tmp_path / "noisy", shift, config={"channel": channel}, channel=channel)
    assert ("leakage falls as SNR rises" in names(case(tmp_path / "run", against=[noisy]))) == raises


@pytest.mark.parametrize("auxiliary, shift, raises", [(2000, 0.5, True), (2000, 0.0, False), (1500, 0.5, False)])
def test_a_doubled_budget(tmp_path, auxiliary, shift, raises):
    rich = other(tmp_path / "rich", shift, config={"auxiliary": auxiliary})
    assert ("a doubled budget changes the verdict" in names(case(tmp_path / "run", against=[rich]))) == raises


def test_another_seed_that_disagrees(tmp_path):
    again = other(tmp_path / "again", 0.1, config={"seed": 1})
    assert "seeds disagree" in names(case(tmp_path / "run", against=[again]))


def test_a_run_of_something_else_is_refused_as_a_peer(tmp_path):
    stranger = other(tmp_path / "a", 0.1, victim={"name": "x", "digest": "9", "layers": 3, "width": 8, "patches": 4})
    with pytest.raises(AtmError, match="--against"):
        check_against(case(tmp_path / "b").run, (stranger,))


def test_one_clear_picture_is_a_leak_in_part_however_rare_and_a_lucky_guess_is_none(tmp_path):
    values, floor = list(VALUES), list(FLOOR)
    values[7] = 0.95
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    verdict = judge(make_run(tmp_path / "a", {"mean_image": floor, "ridge": values}), "none")
    assert verdict.level == "leaks in part" and "1 of them" in verdict.sentence
    floor[7] = 0.93
    assert judge(make_run(tmp_path / "b", {"mean_image": floor, "ridge": values}), "none").level == "no leak found"


def test_flags_never_soften_a_leak_and_stand_behind_the_verdict(tmp_path):
    leak = {"mean_image": FLOOR, "ridge": [0.9] * 120}
    run = make_run(tmp_path, leak, canary={"attack": "ridge", "ssim": 0.1, "recognisable": 0.0, "images": 50})
    verdict, page = judge(run, "none"), render(Judged.of(run))
    assert verdict.level == "leaks" and [f.name for f in verdict.flags] == ["canary failed"]
    section = page[page.index('<h2 id="verdict">') :]
    assert 0 < section.index("Do not call this private") < section.index("canary failed")
    unfolded = section[section.index("<details") : section.index("</details>")]
    assert "Could change the verdict</b> towards graver" in unfolded and "<code>ridge</code>" in unfolded


def test_the_page_says_what_the_code_does():
    assert PAGE.read_text(encoding="utf-8") == document(), "run: python -m reports.flags > docs/flags.md"
    assert len({flag.name for flag in FLAGS}) == len(FLAGS) == document().count("**Raised if**")
    assert document().count("**Could change the verdict** either way") == 3 == sum(f.could == EITHER for f in FLAGS)


@pytest.mark.parametrize("signal", SIGNALS.values(), ids=SIGNALS)
def test_flags_call_every_kind_of_signal_what_it_is(signal):
    told = " ".join(f"{flag.raised_if} {flag.what_to_do}" for flag in (each.of(signal) for each in FLAGS))
    assert "{" not in told and f"adversary's {signal.noun}s" in told
    assert f"`{BASELINES[signal.name].closed_form}`" in told and f"of the {signal.parts}. Hidden" in told
    assert {kind.noun for kind in SIGNALS.values() if f"{kind.noun}s" in told} == {signal.noun}
