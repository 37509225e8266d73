"""The report: verdicts on scores made up for the purpose, escaping, and a page that asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from html.parser import HTMLParser

import pandas as pd
import pytest
import torch

from atm.errors import AtmError
from atm.policy import MergePolicy
from atm.signals import ImageSignal
from atm.wire import Wire
from audit.folder import RunFolder
from privacy_metrics.statistics import Interval
from reports.html import render, write_report
from reports.judged import Judged
from reports.numbers import show
from reports.run import LINK, SCORE, Run
from reports.verdict import judge

EVIL = "<script>alert(1)</script>"


def make_run(folder, ssim: dict[str, list[float]], name="none", attacks=None, history=(), **about):
    """A run folder with given SSIM per attack and image."""
    images = len(next(iter(ssim.values())))
    attacks = attacks or list(ssim)
    rows = [[name, a, i, "ssim", v, 0] for a, values in ssim.items() for i, v in enumerate(values)]
    link = [[name, i, 0, 0, 1, 0.1, 0.01, 65, 660, 10, 0] for i in range(images)]
    content = {
        "created": "2026-01-01", "command": "atm attack", "config": {"seed": 0},
        "attacks": attacks, "denied": [],
        "policies": [MergePolicy.uniform(1.0, 3, name=name).as_dict()], "metrics": {"ssim": "SSIM"}, "notes": [],
        "task": "accuracy", "channel": "awgn:10", "threat": {"name": "server"}, "threat_in_words": "She knows.",
        "victim": {"name": "vit", "digest": "0", "layers": 3, "width": 8, "patches": 16},
        "codec": {"3": {"name": "jscc", "symbols_per_token": 10, "digest": ""}}, "versions": {"python": "3"},
        "wire": {name: Wire.of(side=True, sizes=False, padding=False, places=False).as_rows()},
        "data": {"name": "photos", "victims": images, "auxiliary": 9, "removed": 0, "alike": 0, "victims_digest": "1",
                 "auxiliary_digest": "2", "skipped": []},
    }  # fmt: skip
    content |= about
    content["config"] = {"repeats": 1, **content["config"]}
    with RunFolder(folder, content["config"], force=True) as store:
        store.describe(content)
        for attack in ["original", *(f"{name}/{a}" for a in ssim)]:
            grey = torch.arange(images)[:, None, None, None].expand(-1, 3, 8, 8) % 256 / 255
            store.save_images(attack, grey, ImageSignal((3, 8, 8), (1, 1)))
        store.append_rows("link.csv", pd.DataFrame(link, columns=list(LINK)))
        store.append_rows("scores.csv", pd.DataFrame(rows, columns=list(SCORE)))
        for record in history:
            store.append("history.jsonl", record)
    return Run.read(folder)


def test_a_clear_leak_is_called_one_even_with_few_images(tmp_path):
    run = make_run(tmp_path, {"mean_image": [0.1] * 30, "ridge": [0.9] * 30})
    verdict = judge(run, "none")
    assert verdict.level == "leaks" and verdict.flags and "30 of 30" in verdict.sentence


def test_a_few_bad_images_among_many_are_a_leak_in_part(tmp_path):
    run = make_run(tmp_path, {"mean_image": [0.1] * 200, "ridge": [0.9] * 30 + [0.2] * 170})
    assert judge(run, "none").level == "leaks in part"


def test_nothing_is_found_only_when_no_flag_is_raised(tmp_path):
    values = torch.linspace(0.15, 0.35, 120).tolist()
    floor = [v - 0.05 for v in values]
    assert judge(make_run(tmp_path, {"mean_image": floor, "ridge": values}), "none").level == "no leak found"
    few = judge(make_run(tmp_path, {"mean_image": floor[:99], "ridge": values[:99]}), "none")
    assert few.level == "inconclusive" and "99 pictures" in few.flags[0].found
    weak = judge(make_run(tmp_path, {"mean_image": values, "ridge": floor}), "none")
    assert weak.level == "inconclusive" and "mean_image" in weak.flags[0].found
    cut = judge(
        make_run(tmp_path, {"mean_image": floor, "ridge": values}, attacks=["mean_image", "ridge", "decoder"]), "none"
    )
    assert cut.level == "inconclusive" and "unfinished: decoder" in cut.flags[0].found
    denied = judge(make_run(tmp_path, {"mean_image": floor, "ridge": values}, denied=["optimization"]), "none")
    assert denied.level == "no leak found" and "cannot run optimization" in denied.sentence
    blind = judge(make_run(tmp_path, {"mean_image": floor}), "none")
    assert blind.level == "inconclusive" and "only blind baselines" in blind.flags[0].found


def test_leakage_is_the_worst_case_over_attacks(tmp_path):
    run = make_run(tmp_path, {"mean_image": [0.1, 0.4], "ridge": [0.3, 0.2]})
    assert run.worst_case("none").tolist() == [0.3, 0.4]
    assert run.worst_case("none", blind_only=True).tolist() == [0.1, 0.4]


class Page(HTMLParser):
    """Collects tags and everything that a browser would fetch."""

    def __init__(self):
        super().__init__()
        self.tags, self.fetched = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.fetched += [v for k, v in attrs if k in ("src", "href", "xlink:href", "data", "action") and v]


def test_names_from_files_are_escaped_and_nothing_is_fetched(tmp_path):
    evil = {"name": EVIL, "victims": 3, "auxiliary": 9, "removed": 0, "alike": 0, "victims_digest": EVIL,
            "auxiliary_digest": "2", "skipped": [f"{EVIL}.png: torn"]}  # fmt: skip
    run = make_run(
        tmp_path, {"mean_image": [0.1] * 3, "ridge": [0.9] * 3}, data=evil, command=EVIL, notes=[EVIL], task=EVIL
    )
    text = render(Judged.of(run))
    page = Page()
    page.feed(text)
    assert EVIL not in text and page.tags.count("script") == 1
    digest = re.search(r"script-src 'sha256-(.+?)'", text)[1]
    script = re.search(r"<script>(.*?)</script>", text, re.S)[1]
    assert digest == base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(), "no other script may run"
    assert all(uri.startswith(("data:", "#")) for uri in page.fetched)
    assert not re.search(r"url\((?!#)", text)
    assert "default-src 'none'" in text


def test_intervals_are_shown_with_every_number(tmp_path):
    run = make_run(tmp_path, {"mean_image": [0.1, 0.2, 0.15], "ridge": [0.8, 0.9, 0.85]})
    text = render(Judged.of(run))
    assert "0.850 [0.8" in text and "0.150 [0.1" in text
    assert show(Interval(0.5, float("nan"), float("nan"), 1)) == "0.50 [no interval from 1]"


def test_what_is_on_the_wire_is_shown_for_every_policy_with_who_sees_it(tmp_path):
    wire = Wire.of(side=True, sizes=True, padding=True, places=True).as_rows()
    text = render(Judged.of(make_run(tmp_path, {"mean_image": [0.1] * 3, "ridge": [0.9] * 3}, wire={"none": wire})))
    assert "On the wire, none" in text and len(wire) == 6
    for row in wire:
        assert f"{row['field']}: {row['carries']} ({row['protected']}; seen by {row['seen by']})" in text


def test_a_missing_picture_does_not_stop_the_report(tmp_path):
    make_run(tmp_path, {"mean_image": [0.1] * 3, "ridge": [0.9] * 3})
    shutil.rmtree(tmp_path / "images")
    assert write_report(tmp_path).exists()


@pytest.mark.parametrize(
    "name, content", [("run.json", "{"), ("run.json", '{"format": 2}'), ("scores.csv", "a,b\n1,2\n")]
)
def test_a_damaged_run_is_one_clear_error(tmp_path, name, content):
    make_run(tmp_path, {"mean_image": [0.1] * 3, "ridge": [0.9] * 3})
    (tmp_path / name).write_text(content)
    with pytest.raises(AtmError, match=name):
        write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()
