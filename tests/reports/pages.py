"""A page of every kind, from folders made up for the purpose."""

from __future__ import annotations

import math
from pathlib import Path

from atm.store import RunStore
from audit.pareto.config import SearchConfig
from audit.pareto.outcome import Outcome
from audit.pareto.report import write_report as write_search
from audit.pareto.trials import Trial
from reports.compare import write_comparison
from reports.html import write_report
from reports.leaderboard import leaderboard, render
from reports.sweep import write_sweep
from tests.reports.test_report import make_run
from tests.reports.test_sweep import planted

LONG = "a-policy-whose-name-is-longer-than-a-narrow-window-is-wide-" + "x" * 40


def attack(folder: Path) -> Path:
    scores = {"mean_image": [0.1] * 30, "ridge": [0.9] * 15 + [0.3] * 15, "decoder": [0.4] * 30}
    make_run(folder, scores, name=LONG, canary={"attack": "ridge", "ssim": 0.1, "recognisable": 0.0, "images": 50})
    return write_report(folder)


def compare(folder: Path) -> Path:
    about = {"victim": {"name": "v"}, "data": {"name": "d", "victims": 8}, "channel": "awgn:10", "task": "accuracy",
             "threat_in_words": "She knows."}  # fmt: skip
    systems = [("none", "none", None, 0.9), ("moderate", "merging", None, 0.6), ("drop", "dropping", "drop:0.5", 0.5)]
    with RunStore(folder, "compare", {}, force=True) as store:
        store.begin(about)
        for name, kind, defence, leak in systems:
            values = [leak + 0.01 * i for i in range(8)]
            store.append("points.jsonl", {
                "name": name, "kind": kind, "policy": name, "defence": defence,
                "matched_to": "moderate" if kind == "dropping" else None, "correct": [1, 0] * 4, "gflops": [0.1] * 8,
                "tokens": [16.0] * 8, "symbols": [512.0] * 8, "leakage": values, "ssim": {"ridge": values},
            })  # fmt: skip
    return write_comparison(folder)


def sweep(folder: Path) -> Path:
    planted(folder, {"none": (0.8, 0.9, 0.9), "half": (0.6, 0.9, 0.9)}, n=20)
    return write_sweep(folder)


def search(folder: Path) -> Path:
    folder.mkdir()
    trials = [
        Trial(
            number, (t, 1.0, t), "start" if number < 4 else "model", str(number),
            {"accuracy": 0.9 - 0.1 * math.exp(-3 * t), "gflops": 0.1 + t / 10, "tokens": 10 + 40 * t,
             "leakage": 0.3 + 0.4 * t},
        )
        for number, t in enumerate([0.1, 0.9, 0.5, 0.3, 0.7, 0.2])
    ]  # fmt: skip
    return write_search(Outcome(folder, SearchConfig(evals=6), tuple(trials), 4))


def board(folder: Path) -> Path:
    attack(folder / "run")
    (folder / "board.html").write_text(render(leaderboard([folder])))
    return folder / "board.html"


PAGES = {"attack": attack, "compare": compare, "sweep": sweep, "search": search, "leaderboard": board}
