"""The table of bounds of a run: what no attack can beat, beside what the best one reached."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from atm.store import RunStore, StoredRun
from reports.run import Run

TABLE = "bounds.csv"
COLUMNS = {"policy": str, "bound": str, "value": float, "note": str}
BOUNDS = {
    "unbiased": "an attacker who is right on average at every single {noun} (Maeng et al. 2023), on average over "
    "{noun}s. Assumes white Gaussian noise, no prior knowledge of {noun}s and merges that stay the same nearby; "
    "attackers with a prior are biased and may do better. The confidence over {noun}s is the bootstrap's and fails "
    "where rare {noun}s leak far more than all that were seen. Side information that is sent free of noise, the token "
    "count and the merge map are not counted.",
    "any attacker": "any attacker on average over {noun}s (van Trees), if {noun}s were independent Gaussian {parts}. "
    "They are not: real ones are more predictable, the true bound is lower, and this is no guarantee. Otherwise as "
    "above.",
    "entropy": "any attacker on average over {noun}s (Xia et al. 2025), if {noun}s were independent Gaussian "
    "{parts}. They are not: their entropy is lower, so is the true bound, and this is no guarantee. What the symbols "
    "can tell is bounded on {noun}s that the mixture was not fitted to, at a confidence that holds for any {noun}s. "
    "Side information free of noise, the token count and the merge map are not counted.",
}


@dataclass(frozen=True)
class Bracket:
    """One line of the table; mean squared errors per pixel, pixels in [0, 1]."""

    policy: str
    bound: str
    value: float
    note: str
    assumes: str
    attack: str
    error: float


def brackets(run: Run) -> list[Bracket]:
    """Every bound of a run beside the smallest mean error that an attack reached there; empty where none was taken."""
    table = StoredRun(run.folder, "attack").table(TABLE, COLUMNS)
    lines = []
    for row in table.to_dict("records"):
        policy = str(row["policy"])
        scores = {a: psnr for a in run.attacks if (psnr := run.repeated(policy, a, "psnr")).numel()}
        # Squared errors are averaged, of every image in every repeat: a mean of decibels is no mean of errors.
        errors = {a: float((10 ** (-psnr / 10)).mean()) for a, psnr in scores.items()}
        if policy in run.policies and errors:
            best = min(errors, key=lambda name: errors[name])
            words = BOUNDS.get(row["bound"], "")
            lines.append(Bracket(policy, row["bound"], row["value"], row["note"], words, best, errors[best]))
    return lines


def add_bounds(folder: RunStore, policy: str, rows: pd.DataFrame) -> None:
    """Add a policy's rows to ``bounds.csv`` of a run, unless they are there."""
    if not (folder.table(TABLE, COLUMNS).policy == policy).any():
        folder.append_rows(TABLE, rows.assign(policy=policy)[list(COLUMNS)])
