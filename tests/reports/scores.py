"""Runs in memory, made of the scores that a test wants to be judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from reports.run import LINK, SCORE, Run

NAME = "none"  # of the policy, unless a test gives another


def run_of(
    scores: dict[str, dict[str, Any]], *, policy: str = NAME, link=None, history=(), placers=(), **about: Any
) -> Run:
    """A run with ``[B]`` or ``[R, B]`` scores by attack (or inference) and metric, and columns ``[B]`` of the link."""
    tables = {
        a: {m: np.atleast_2d(np.asarray(v, dtype=float)) for m, v in kinds.items()} for a, kinds in scores.items()
    }
    rows = [
        [policy, attack, image, metric, value, repeat]
        for attack, kinds in tables.items()
        for metric, table in kinds.items()
        for repeat, values in enumerate(table)
        for image, value in enumerate(values)
    ]
    images = max(table.shape[1] for kinds in tables.values() for table in kinds.values())
    repeats = max(len(table) for kinds in tables.values() for table in kinds.values())
    columns = {"label": 0, "answer": 0, "correct": 1, "gflops": 0.1, "coding_gflops": 0.0, "tokens": 16, "symbols": 1,
               "header": 0, "repeat": 0, "policy": policy, "image": range(images), **(link or {})}  # fmt: skip
    inferences = [a for a, kinds in tables.items() if not {"ssim", "psnr", "placed"} & kinds.keys()]
    content = {
        "attacks": [a for a in tables if a not in inferences], "inferences": inferences, "policies": [{"name": policy}],
        "task": "accuracy", "channel": "awgn:10", "threat": {"name": "server"}, "chance": {},
        "victim": {"digest": "0", "patches": 16}, "data": {"victims_digest": "1"}, **about,
    }  # fmt: skip
    content["config"] = {"repeats": repeats, "seed": 0, **about.get("config", {})}
    table = pd.DataFrame(rows, columns=list(SCORE))
    return Run(Path("made"), content, table, pd.DataFrame(columns)[list(LINK)], list(history), placers=list(placers))


def together(*runs: Run, **about: Any) -> Run:
    """One run of the policies of several."""
    content = {**runs[0].about, "policies": [p for run in runs for p in run.about["policies"]], **about}
    tables = [pd.concat([getattr(run, name) for run in runs]) for name in ("scores", "link")]
    return Run(Path("made"), content, *tables, [record for run in runs for record in run.history])
