"""Flags that one run raises against another, or one repeat against another."""

from __future__ import annotations

from typing import Any

import torch

from reports.case import TELLING, Case
from reports.flag import EITHER, Flag, registering
from reports.level import measured_level
from reports.peers import differs_only_in, number, stronger, surely_higher, twice_the_budget
from reports.recognition import picked
from reports.run import Run

FLAGS: list[Flag] = []
flag = registering(FLAGS)


@flag(
    "seeds disagree",
    raised_if="one repeat alone would be judged otherwise than another, or the mean leakage of two repeats (or of a "
    "run given by `--against` with another seed) differs by more than 0.05.",
    what_to_do="Repeat more often (`--repeats`), and attack more {noun}s.",
    could=EITHER,
)
def _seeds_disagree(case: Case) -> str | None:
    def tables(run: Run) -> list[Any]:
        found = run.worst_repeats(case.policy), run.blind_repeats(case.policy), picked(run, case.policy)
        return list(zip(*(t.split(1) for t in found), strict=False))

    rows = tables(case.run)
    for other in case.peers:
        rows += tables(other) if differs_only_in(case.run, other, {"seed"}) else []
    levels = {measured_level(worst, blind, case.run.signal.bar, hits) for worst, blind, hits in rows}
    if len(levels) > 1:
        return f"single repeats say {' and '.join(repr(level) for level in sorted(levels))}"
    means = torch.stack([worst.mean() for worst, *_ in rows])
    spread = float(means.max() - means.min())
    return f"repeats differ by {spread:.2f} in mean {case.run.measured}" if spread > 0.05 else None


@flag(
    "a weaker adversary won",
    raised_if="in a run given by `--against`, an adversary who sees and knows no more reaches a leakage that is surely "
    f"more than {TELLING} {{measure}} higher.",
    what_to_do="The stronger adversary could do the same, so her attacks are too weak: strengthen them.",
)
def _weaker_won(case: Case) -> str | None:
    for other in case.peers:
        if stronger(case.run, other) and surely_higher(other, case.run, case.policy, TELLING):
            return f"{other.about['threat']['name']!r} ({other.folder.name}) rebuilt more, and has no more to go by"
    return None


@flag(
    "leakage falls as SNR rises",
    raised_if="against the same adversary on a noisier channel of the same kind, in a run given by `--against`, "
    f"leakage is surely more than {TELLING} {{measure}} higher.",
    what_to_do="Less noise cannot hide more: the attack on the better channel is too weak, or badly trained.",
)
def _falls_with_snr(case: Case) -> str | None:
    def kind_and_snr(run: Run) -> tuple[str, float]:
        name, _, argument = run.about["channel"].partition(":")
        snr, _, options = argument.partition(",")
        return f"{name}:{options}", number(snr)

    kind, snr = kind_and_snr(case.run)
    for other in case.peers:
        other_kind, other_snr = kind_and_snr(other)
        same = differs_only_in(case.run, other, {"channel"}) and kind == other_kind
        if same and other_snr < snr and surely_higher(other, case.run, case.policy, TELLING):
            ours, theirs = case.run.about["channel"], other.about["channel"]
            return f"at {theirs} ({other.folder.name}) more was rebuilt than at {ours}"
    return None


@flag(
    "a doubled budget changes the verdict",
    raised_if="a run given by `--against` with at least twice the auxiliary {noun}s, steps or time, and all else "
    "equal, is judged otherwise.",
    what_to_do="Believe the larger budget, and double it again until the verdict stays.",
    could=EITHER,
)
def _budget_matters(case: Case) -> str | None:
    for other in case.peers:
        if twice_the_budget(case.run, other):
            ours, theirs = (
                measured_level(
                    r.worst_repeats(case.policy), r.blind_repeats(case.policy), r.signal.bar, picked(r, case.policy)
                )
                for r in (case.run, other)
            )
            if ours != theirs:
                return f"with the larger budget of {other.folder.name} it is {theirs!r}"
    return None
