"""What a sweep says: planted collapses are found, chance is not, and damaged files are one clear error."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from atm.errors import AtmError
from atm.store import RunStore
from privacy_metrics.significance import holm
from reports.settings import check_sweep
from reports.sweep import Sweep, sentences, write_sweep

SNRS = (0.0, 10.0, 20.0)


def planted(folder, accuracy, n=200, seed=0):
    """A sweep whose policies answer right with a given probability at each SNR."""
    generator = np.random.default_rng(seed)
    points = []
    for policy, rates in accuracy.items():
        for snr, rate in zip(SNRS, rates, strict=True):
            leakage = generator.random(n)
            points.append({
                "policy": policy, "codec": "c", "channel": "awgn", "snr": snr,
                "correct": (generator.random(n) < rate).astype(int).tolist(),
                "tokens": [64 if policy == "none" else 20] * n, "symbols": [2048] * n, "server": leakage.tolist(),
                "eavesdropper": [{"snr": snr, "leakage": (leakage - 0.1).tolist()}],
            })  # fmt: skip
    folder.mkdir(exist_ok=True)
    with RunStore(folder, "sweep", {}, force=True) as store:
        store.begin(ABOUT)
        for point in points:
            store.append("points.jsonl", point)
        lengths = {p: generator.integers(10, 60, n).tolist() for p in accuracy}
        store.write_json("frames.json", {"labels": [i % 4 for i in range(n)], "lengths": lengths})
    return Sweep.read(folder)


ABOUT = {
    "victim": {"name": "<v>"}, "data": {"name": "d", "victims": 200, "auxiliary": 50},
    "codecs": [{"name": "c", "symbols_per_token": 32}], "threat_in_words": "w",
    "config": {"eavesdropper_snr": [], "attacks": ["ridge"]},
}  # fmt: skip


def test_a_planted_collapse_is_found_and_named(tmp_path):
    sweep = planted(tmp_path / "s", {"none": (0.85, 0.9, 0.9), "half": (0.8, 0.88, 0.88), "much": (0.4, 0.86, 0.88)})
    found = [(c.policy, c.snr) for c in sweep.collapses if c.found]
    assert found == [("much", 0.0)]
    (line,) = sentences(sweep)
    assert "collapses sooner under much than under none: from 20 to 0 dB" in line
    (worst,) = [c for c in sweep.collapses if c.found]
    assert worst.excess.low < 0.85 - 0.9 - (0.4 - 0.88) < worst.excess.high


def test_the_same_loss_for_all_is_no_collapse(tmp_path):
    hits = 0
    for seed in range(20):
        rates = {"none": (0.5, 0.8, 0.9), "much": (0.45, 0.75, 0.85)}
        hits += any(c.found for c in planted(tmp_path / "s", rates, seed=seed).collapses)
    assert hits <= 4, "a false alarm in about one sweep of twenty"
    assert "no policy's accuracy is shown to collapse sooner" in sentences(planted(tmp_path / "s", rates, seed=1))[0]


def test_one_policy_or_one_snr_is_nothing_to_compare(tmp_path):
    assert "nothing to compare" in sentences(planted(tmp_path / "s", {"none": (0.5, 0.8, 0.9)}))[0]


def test_p_values_agree_with_students_and_holm_with_his_paper(tmp_path):
    sweep = planted(tmp_path / "s", {"none": (0.8, 0.9, 0.9), "much": (0.7, 0.9, 0.9)}, n=400)
    one = next(c for c in sweep.collapses if c.snr == 0)
    own, base = ({p["snr"]: np.array(p["correct"]) for p in sweep.of(name, "awgn")} for name in ("much", "none"))
    student = ttest_1samp((own[20] - own[0]) - (base[20] - base[0]), 0, alternative="greater").pvalue
    assert one.p_value == pytest.approx(2 * student, rel=0.5, abs=0.003)
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_the_table_holds_closed_forms(tmp_path):
    sweep = planted(tmp_path / "s", {"none": (1.0, 1.0, 1.0)})
    row = sweep.table[(sweep.table.quantity == "accuracy") & (sweep.table.snr == 0)].iloc[0]
    z = 1.959964
    assert row.estimate == 1 and row.low == pytest.approx(1 / (1 + z**2 / 200), abs=1e-6)
    assert sweep.table[sweep.table.quantity == "gap"].estimate.tolist() == pytest.approx([0.1] * 3)


def test_the_page_stands_alone_and_escapes(tmp_path):
    planted(tmp_path / "s", {"none": (0.8, 0.9, 0.9), "<b>": (0.7, 0.9, 0.9)})
    page = write_sweep(tmp_path / "s").read_text()
    assert "&lt;v&gt;" in page and "<v>" not in page and '<th scope="row"><b></th>' not in page
    assert page.count("<script") == 1 and "src=" not in page and page.count("<svg") == 5


def test_damage_is_one_clear_error(tmp_path):
    with pytest.raises(AtmError, match=r"no sweep\.json"):
        Sweep.read(tmp_path)
    sweep = planted(tmp_path / "s", {"none": (0.8, 0.9, 0.9)})
    path = sweep.folder / "points.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:-5], lines[2]]) + "\n")
    with pytest.raises(AtmError, match=r"points\.jsonl, line 2 is damaged"):
        Sweep.read(sweep.folder)
    path.unlink()
    with pytest.raises(AtmError, match=r"points\.jsonl is missing"):
        Sweep.read(sweep.folder)


@pytest.mark.parametrize(("part", "field"), [("config", "eavesdropper_snr"), ("data", "auxiliary")])
def test_settings_that_a_page_needs_and_that_are_missing_are_named(tmp_path, part, field):
    about = planted(tmp_path / "s", {"none": (0.8, 0.9, 0.9)}).about
    with pytest.raises(AtmError, match=f"needs a field .{part}"):
        check_sweep({**about, part: {k: v for k, v in about[part].items() if k != field}}, tmp_path / "sweep.json")


def test_a_sweep_without_a_finished_point_says_so(tmp_path):
    with pytest.raises(AtmError, match="no finished point"):
        planted(tmp_path / "s", {})
