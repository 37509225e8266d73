"""What was written down of sounds, by the server and from reconstructions, beside what was said."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch

from atm.store import StoredRun
from privacy_metrics.statistics import Interval, bootstrap_mean, wilson
from reports.run import REPEAT, Run

TRANSCRIPTS, SERVER = "transcripts.csv", "server"
# Columns, in order; ``attack`` is `SERVER` for what the server writes, ``wrong`` a word error rate.
TRANSCRIPT: dict[str, type | None] = {
    "policy": str, "attack": str, "image": int, "said": None, "wrong": float, REPEAT: int
}  # fmt: skip
KEY = ["policy", "attack", "image", REPEAT]  # of several lines the last counts


@dataclass(frozen=True)
class Written:
    """What was written down of the sounds under one policy, in the first repeat.

    Attributes:
        policy: its name.
        attack: from whose reconstructions; `SERVER` for what the server writes from the tokens.
        rate: word error rate, averaged over sounds.
        right: the share of sounds without an error.
    """

    policy: str
    attack: str
    rate: Interval
    right: Interval


def written(run: Run) -> list[Written]:
    """A row per policy for the server and each attack; empty where nothing was written down."""
    if not run.about.get("transcripts"):
        return []
    table: pd.DataFrame = StoredRun(run.folder, "attack").table(TRANSCRIPTS, TRANSCRIPT)
    table = table.drop_duplicates(KEY, keep="last")
    rows = []
    for policy in run.policies:
        for attack in (SERVER, *run.attacks):
            chosen = (table.policy == policy) & (table.attack == attack) & (table[REPEAT] == 0)
            wrong = torch.tensor(table[chosen].sort_values("image").wrong.to_numpy(dtype=float))
            if len(wrong):
                rows.append(Written(policy, attack, bootstrap_mean(wrong), wilson(int((wrong == 0).sum()), len(wrong))))
    return rows
