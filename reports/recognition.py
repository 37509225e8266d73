"""Evidence beside the leakage: which pictures a recogniser that has nothing to do with the victim picks out.

`privacy_metrics.recognition` has the rule. It adds to what leakage says and takes nothing away.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from privacy_metrics.recognition import by_chance
from privacy_metrics.statistics import Interval, wilson_repeats
from reports.level import recognised
from reports.run import Run

LIKENESS, PLACE, PICKED, SEEN = "likeness", "place", "picked", "label_seen"


@dataclass(frozen=True)
class Evidence:
    """By what the pictures of one policy were recognised.

    Attributes:
        policy: its name.
        by_score: share of pictures that leakage says are recognised.
        by_recogniser: share that the recogniser picks out.
        by_either: share that counts.
        first: share whose original is the likeliest of its gallery for the best attack by that, however narrowly.
        blind: the same of each blind baseline, by name; chance is one in a gallery.
        vouches: whether the recogniser's word counts, see `vouches`.
    """

    policy: str
    by_score: Interval
    by_recogniser: Interval
    by_either: Interval
    first: Interval
    blind: dict[str, Interval]
    vouches: bool


def recogniser_of(run: Run) -> str | None:
    """The name of the recogniser that looked at a run's pictures; None where none did."""
    about = run.about.get("recogniser")
    return None if about is None else str(about["name"])


def picked(run: Run, policy: str) -> Tensor:
    """``[R, B]`` bool: pictures that the recogniser picks out by what any attack rebuilt; none where none looked.

    Blind baselines read no token, and what retrieval answers with is a picture of something else, of which the
    recogniser would say that it shows the same kind of thing: that is the label, which is judged apart. Nothing is
    picked out where the recogniser does not vouch for it.
    """
    found = torch.zeros_like(run.worst_repeats(policy), dtype=torch.bool)
    if recogniser_of(run) is None or not vouches(run, policy):
        return found
    for attack in _rebuilding(run):
        hits = run.repeated(policy, attack, PICKED)[: len(found)] > 0.5
        if hits.numel():
            found[: len(hits)] |= hits
    return found


def vouches(run: Run, policy: str) -> bool:
    """Whether the recogniser picks out what blind baselines answer with no more often than chance would."""
    tables = [run.repeated(policy, a, PICKED) for a in run.baselines.blind]
    return all(by_chance(row > 0.5) for table in tables for row in table if len(row))


def evidence(run: Run, policy: str) -> Evidence | None:
    """By what the pictures of a policy were recognised; None where no recogniser looked."""
    first = {a: table == 1 for a in run.attacks if (table := run.repeated(policy, a, PLACE)).numel()}
    if recogniser_of(run) is None or not first:
        return None
    found = picked(run, policy)
    scored = recognised(run.worst_repeats(policy), run.blind_repeats(policy), run.signal.bar)
    blind = {a: wilson_repeats(hits) for a, hits in first.items() if a in run.baselines.blind}
    rebuilt = [first[a] for a in _rebuilding(run) if a in first]
    best = max(rebuilt, key=lambda hits: float(hits.double().mean()), default=torch.zeros_like(found))
    return Evidence(
        policy,
        wilson_repeats(scored),
        wilson_repeats(found),
        wilson_repeats(scored | found),
        wilson_repeats(best),
        blind,
        vouches(run, policy),
    )


def best_attack(run: Run, policy: str) -> str:
    """That which reaches the highest mean leakage, which says nothing of labels; empty where none rebuilds pictures."""
    scores = {a: run.values(policy, a, run.measure) for a in _rebuilding(run)}
    return max((a for a in scores if scores[a].numel()), key=lambda a: float(scores[a].mean()), default="")


def _rebuilding(run: Run) -> list[str]:
    """Attacks that make pictures out of tokens."""
    return [a for a in run.attacks if a not in (*run.baselines.blind, run.baselines.retrieval)]
